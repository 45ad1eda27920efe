//! An API server of a test: three kinds of objects over HTTP, with what the agent relies on.
//!
//! Objects have UIDs, versions and generations; a JSON patch is applied to the object as it is now and refused with 409 when it sets another
//! `resourceVersion` than the object has; a patch of a resource leaves its status alone and one of `/status` the rest; lists take field
//! selectors, watches resume at a version. The test changes objects through [`ApiServer::edit`], which is a write like any other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

/// Collection and `namespace/name` or `name`.
type Key = (&'static str, String);

/// Collections by path.
const COLLECTIONS: [(&str, &str, &str); 3] = [
    ("/apis/retile.dev/v1alpha1/mignodes", "MigNode", "retile.dev/v1alpha1"),
    ("/api/v1/nodes", "Node", "v1"),
    ("/api/v1/pods", "Pod", "v1"),
];

#[derive(Default)]
struct Objects {
    version: u64,
    by_key: BTreeMap<Key, Value>,
    /// Every change: version, collection, what happened, the object.
    log: Vec<(u64, &'static str, &'static str, Value)>,
}

/// The server.
#[derive(Clone)]
pub struct ApiServer {
    objects: Arc<Mutex<Objects>>,
    versions: watch::Sender<u64>,
    address: SocketAddr,
}

impl ApiServer {
    /// Listens on a free port of this machine, on the runtime that this is called in.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = Self { objects: Arc::default(), versions: watch::channel(0).0, address };
        let router = axum::Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> String {
        let cluster = json!({"name": "test", "cluster": {"server": format!("http://{}", self.address)}});
        let context = json!({"name": "test", "context": {"cluster": "test", "user": "test"}});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [cluster], "contexts": [context], "users": [{"name": "test", "user": {}}],
        });
        config.to_string()
    }

    /// An object as it is now.
    pub fn get(&self, collection: &'static str, name: &str) -> Option<Value> {
        self.with(|objects| objects.by_key.get(&(collection, name.to_owned())).cloned())
    }

    /// Makes an object, or changes it.
    pub fn edit(&self, collection: &'static str, name: &str, edit: impl FnOnce(&mut Value)) {
        self.with(|objects| {
            let key = (collection, name.to_owned());
            let old = objects.by_key.get(&key).cloned();
            let mut new = old.clone().unwrap_or_else(|| objects.fresh(collection, name));
            edit(&mut new);
            objects.put(key, old.as_ref(), new);
        });
        self.announce();
    }

    /// Removes an object.
    pub fn remove(&self, collection: &'static str, name: &str) {
        self.with(|objects| {
            if let Some(mut gone) = objects.by_key.remove(&(collection, name.to_owned())) {
                objects.version += 1;
                gone["metadata"]["resourceVersion"] = json!(objects.version.to_string());
                objects.log.push((objects.version, collection, "DELETED", gone));
            }
        });
        self.announce();
    }

    /// Waits until an object is as it must be, and answers with it; `None` when that takes too long.
    pub async fn until(&self, collection: &'static str, name: &str, is: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut versions = self.versions.subscribe();
        let wait = async {
            loop {
                versions.borrow_and_update();
                if let Some(object) = self.get(collection, name).filter(&is) {
                    return object;
                }
                versions.changed().await.expect("this server is one of the senders");
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(2), wait).await.ok()
    }

    fn with<T>(&self, what: impl FnOnce(&mut Objects) -> T) -> T {
        what(&mut self.objects.lock().expect("no test panics with it held"))
    }

    fn announce(&self) {
        let version = self.with(|objects| objects.version);
        self.versions.send_replace(version);
    }
}

impl Objects {
    fn fresh(&self, collection: &str, name: &str) -> Value {
        let (_, kind, api) = COLLECTIONS.iter().find(|(path, ..)| *path == collection).expect("a collection");
        let (namespace, name) = name.split_once('/').map_or((None, name), |(space, name)| (Some(space), name));
        let mut metadata = json!({"name": name, "uid": format!("uid-{name}-{}", self.version), "generation": 1});
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": {}})
    }

    fn put(&mut self, key: Key, old: Option<&Value>, mut new: Value) -> Value {
        if old == Some(&new) {
            return new;
        }
        self.version += 1;
        if old.as_ref().is_some_and(|old| old["spec"] != new["spec"]) {
            let generation = new["metadata"]["generation"].as_u64().unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        new["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let what = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.log.push((self.version, key.0, what, new.clone()));
        self.by_key.insert(key, new.clone());
        new
    }
}

/// What a path names: collection, name, whether its status.
fn named(path: &str) -> Option<(&'static str, Option<String>, bool)> {
    COLLECTIONS.iter().find_map(|(collection, ..)| {
        let rest = path.strip_prefix(collection)?;
        let Some(name) = rest.strip_prefix('/') else { return rest.is_empty().then_some((*collection, None, false)) };
        let (name, status) = name.strip_suffix("/status").map_or((name, false), |name| (name, true));
        Some((*collection, Some(name.to_owned()), status))
    })
}

async fn answer(State(server): State<ApiServer>, method: Method, uri: Uri, body: Bytes) -> Response {
    let query: BTreeMap<String, String> =
        uri.query().unwrap_or_default().split('&').filter_map(|part| part.split_once('=')).map(decoded).collect();
    let Some((collection, name, status)) = named(uri.path()) else {
        return (StatusCode::NOT_FOUND, "404 page not found").into_response();
    };
    let watches = query.get("watch").is_some_and(|value| value == "true" || value == "1");
    let answered = match (method, name) {
        (Method::GET, None) if watches => return watched(&server, collection, query),
        (Method::GET, None) => Ok(listed(&server, collection, &query)),
        (Method::GET, Some(name)) => server.get(collection, &name).ok_or_else(|| refused(404, "NotFound", &name)),
        (Method::POST, None) => posted(&server, collection, &body),
        (Method::PATCH, Some(name)) => patched(&server, (collection, name), status, &body),
        (method, _) => Err(refused(405, "MethodNotAllowed", method.as_str())),
    };
    server.announce();
    let (code, object) = match answered {
        Ok(object) => (200, object),
        Err((code, status)) => (code, status),
    };
    let code = StatusCode::from_u16(code).expect("a status code");
    (code, [("content-type", "application/json")], object.to_string()).into_response()
}

fn decoded((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/"))
}

type Refused = (u16, Value);

fn refused(code: u16, reason: &str, what: &str) -> Refused {
    let message = format!("{reason}: {what}");
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code});
    (code, status)
}

/// Whether a field selector, of which only equality is known, takes an object.
fn selected(query: &BTreeMap<String, String>, object: &Value) -> bool {
    let selector = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    selector.split(',').filter_map(|term| term.split_once('=')).all(|(field, value)| {
        let pointer = format!("/{}", field.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str) == Some(value)
    })
}

fn listed(server: &ApiServer, collection: &'static str, query: &BTreeMap<String, String>) -> Value {
    let (_, kind, api) = COLLECTIONS.iter().find(|(path, ..)| *path == collection).expect("a collection");
    server.with(|objects| {
        let all = objects.by_key.iter().filter(|((of, _), object)| *of == collection && selected(query, object));
        let items: Vec<&Value> = all.map(|(_, object)| object).collect();
        let version = objects.version.to_string();
        json!({"kind": format!("{kind}List"), "apiVersion": api, "metadata": {"resourceVersion": version}, "items": items})
    })
}

/// All changes after a version, for as long as the client listens.
fn watched(server: &ApiServer, collection: &'static str, query: BTreeMap<String, String>) -> Response {
    let seen: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    let start = (server.clone(), server.versions.subscribe(), seen);
    let stream = futures::stream::unfold(start, move |(server, mut versions, seen)| {
        let query = query.clone();
        async move {
            loop {
                let (lines, now) = server.with(|objects| {
                    let changes = objects.log.iter().filter(|(version, of, _, object)| {
                        *version > seen && *of == collection && selected(&query, object)
                    });
                    // As the real one writes them: the type first, on which clients may rely that keep the object as text.
                    let line = |what: &str, it: &Value| format!("{{\"type\":\"{what}\",\"object\":{it}}}\n");
                    let lines: String = changes.map(|(_, _, what, it)| line(what, it)).collect();
                    (lines, objects.version)
                });
                if !lines.is_empty() {
                    return Some((Ok::<_, Infallible>(lines), (server, versions, now)));
                }
                versions.changed().await.ok()?;
            }
        }
    });
    ([("content-type", "application/json")], Body::from_stream(stream)).into_response()
}

fn posted(server: &ApiServer, collection: &'static str, body: &[u8]) -> Result<Value, Refused> {
    let sent: Value = serde_json::from_slice(body).map_err(|error| refused(400, "BadRequest", &error.to_string()))?;
    let name = sent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    server.with(|objects| {
        let key = (collection, name.clone());
        if objects.by_key.contains_key(&key) {
            return Err(refused(409, "AlreadyExists", &name));
        }
        let mut new = objects.fresh(collection, &name);
        new["spec"] = sent["spec"].clone();
        Ok(objects.put(key, None, new))
    })
}

fn patched(server: &ApiServer, key: Key, status: bool, body: &[u8]) -> Result<Value, Refused> {
    let invalid = |what: &str| refused(422, "Invalid", what);
    let steps: Vec<Value> = serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))?;
    server.with(|objects| {
        let old = objects.by_key.get(&key).cloned().ok_or_else(|| refused(404, "NotFound", &key.1))?;
        let mut patched = old.clone();
        for step in &steps {
            let (path, value) = (step["path"].as_str().unwrap_or_default(), &step["value"]);
            match step["op"].as_str() {
                Some("test") if patched.pointer(path) == Some(value) => {}
                Some("replace" | "add") => {
                    let (parent, field) = path.rsplit_once('/').ok_or_else(|| invalid(path))?;
                    patched.pointer_mut(parent).ok_or_else(|| invalid(path))?[field] = value.clone();
                }
                _ => return Err(invalid(&step.to_string())),
            }
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if version(&patched) != version(&old) {
            return Err(refused(409, "Conflict", &key.1));
        }
        let mut new = old.clone();
        for field in if status { &["status"][..] } else { &["spec"] } {
            new[*field] = patched[*field].clone();
        }
        Ok(objects.put(key, Some(&old), new))
    })
}
