//! How tests and their programs get at the API server.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::{ControlPlane, eventually, identity, unique};

impl ControlPlane {
    /// A client with every right. It belongs to the runtime that calls, so each test has its own.
    pub async fn administrator(&self) -> Client {
        self.client("administrator", identity::ADMINISTRATOR, None).await
    }

    /// A client for whoever has this token.
    pub async fn client_with(&self, token: &str) -> Client {
        self.client(&unique("somebody"), token, None).await
    }

    /// A client that speaks as the kubelet of a node does.
    pub async fn kubelet(&self, node: &str) -> Client {
        self.client("administrator", identity::ADMINISTRATOR, Some(node)).await
    }

    async fn client(&self, name: &str, token: &str, node: Option<&str>) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(name, token)).expect("written a moment ago");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mut config = config.expect("a usable kubeconfig");
        // A refused eviction is an answer, not a reason to ask again.
        config.default_retry = false;
        if let Some(node) = node {
            config.auth_info.impersonate = Some(format!("system:node:{node}"));
            config.auth_info.impersonate_groups = Some(vec!["system:nodes".into(), "system:authenticated".into()]);
        }
        Client::try_from(config).expect("a usable configuration")
    }

    /// A kubeconfig file for whoever has this token; replaces an older one of the same name.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        self.identity.kubeconfig(name, self.ports.api, token)
    }

    /// A kubeconfig file for the administrator.
    pub fn administrator_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("administrator", identity::ADMINISTRATOR)
    }

    /// A token of a `ServiceAccount`, bound to nothing.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        self.token_for(namespace, account, None).await
    }

    /// A token of a pod's `ServiceAccount` as the kubelet gets it for that pod: it names the pod and its node.
    pub async fn token_of_pod(&self, pod: &Pod) -> String {
        let (metadata, spec) = (&pod.metadata, pod.spec.as_ref().expect("pods have one"));
        let namespace = metadata.namespace.as_deref().expect("pods have one");
        let account = spec.service_account_name.as_deref().unwrap_or("default");
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        };
        self.token_for(namespace, account, Some(bound)).await
    }

    async fn token_for(
        &self,
        namespace: &str,
        account: &str,
        bound_object_ref: Option<BoundObjectReference>,
    ) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.administrator().await, namespace);
        let spec = TokenRequestSpec { audiences: Vec::new(), bound_object_ref, expiration_seconds: None };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let made = accounts.create_subresource("token", account, &PostParams::default(), &request).await;
        let made: TokenRequest = made.unwrap_or_else(|error| panic!("no token for {namespace}/{account}: {error}"));
        made.status.expect("an answered request has a status").token
    }

    /// Makes a namespace of its own in which pods can be created.
    pub async fn namespace(&self, prefix: &str) -> String {
        let name = unique(prefix);
        self.namespace_named(&name).await;
        name
    }

    /// Makes a namespace of this name in which pods can be created.
    pub async fn namespace_named(&self, name: &str) {
        let client = self.administrator().await;
        let namespace = Namespace {
            metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
            ..Default::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("a new name");
        self.wait_until_account_is_made(client, name).await;
    }

    /// Applies YAML as a user does: `kubectl apply --server-side`.
    pub fn apply(&self, yaml: &str) {
        let (succeeded, said) = self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], yaml);
        assert!(succeeded, "{said}");
    }

    /// Runs `kubectl` as the administrator; whether it succeeded, and all it said.
    pub fn kubectl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut kubectl = Command::new(self.kubectl_program())
            .args(arguments)
            .env("KUBECONFIG", self.administrator_kubeconfig())
            .env("HOME", self.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let mut stdin = kubectl.stdin.take().expect("piped above");
        stdin.write_all(input.as_bytes()).expect("kubectl reads its input");
        drop(stdin);
        let output = kubectl.wait_with_output().expect("kubectl ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    pub(super) async fn wait_until_ready(&self) {
        let client = self.administrator().await;
        eventually("the API server is ready", async || {
            self.servers().all_run();
            let ask = http::Request::get("/readyz").body(Vec::new()).expect("a path");
            client.request_text(ask).await.ok().filter(|answer| answer == "ok")
        })
        .await;
    }

    pub(super) async fn wait_until_accounts_are_made(&self) {
        self.wait_until_account_is_made(self.administrator().await, "default").await;
    }

    /// Pods are refused in a namespace without its default account.
    async fn wait_until_account_is_made(&self, client: Client, namespace: &str) {
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        eventually("the namespace has its default ServiceAccount", async || {
            self.servers().all_run();
            accounts.get_opt("default").await.ok().flatten()
        })
        .await;
    }
}
