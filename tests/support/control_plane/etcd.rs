//! What tests do to etcd behind the API server's back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::ControlPlane;

impl ControlPlane {
    /// Makes etcd forget everything but the newest version of each object, as it does by itself every five minutes: whoever asks for changes since
    /// an older version is told 410.
    pub fn compact(&self) {
        let newest = self.etcd("/v3/kv/range", &json!({"key": "AA=="})).expect("etcd answers");
        let revision = newest.pointer("/header/revision").and_then(Value::as_str).expect("answers carry the revision");
        match self.etcd("/v3/kv/compaction", &json!({"revision": revision, "physical": true})) {
            Ok(_) => {}
            // Nothing has been written since the last time.
            Err(said) if said.contains("has been compacted") => {}
            Err(said) => panic!("etcd does not compact: {said}"),
        }
    }

    /// One request over etcd's gateway for JSON.
    ///
    /// # Errors
    /// etcd refuses; what it says.
    fn etcd(&self, path: &str, body: &Value) -> Result<Value, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.etcd)).expect("etcd listens");
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("etcd reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("etcd answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        if !head.starts_with("HTTP/1.1 200") {
            return Err(body.to_owned());
        }
        Ok(serde_json::from_str(body.trim()).unwrap_or_else(|error| panic!("{error}: {answer}")))
    }
}
