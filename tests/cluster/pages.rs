//! The pages of a program as a scraper reads them over TLS.

use std::process::Command;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use super::control_plane::{ControlPlane, eventually, free_port};

/// A client of a page that trusts this authority, and has this token.
async fn scraper(port: u16, authority: &std::path::Path, token: &str) -> Client {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "page",
        "clusters": [{"name": "page", "cluster": {"server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority}}],
        "users": [{"name": "scraper", "user": {"token": token}}],
        "contexts": [{"name": "page", "context": {"cluster": "page", "user": "scraper"}}]
    });
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a usable kubeconfig")).expect("a usable configuration")
}

async fn metrics(client: &Client) -> Result<String, kube::Error> {
    client.request_text(http::Request::get("/metrics").body(Vec::new()).expect("a path")).await
}

#[tokio::test]
async fn metrics_are_read_over_tls_by_those_who_trust_the_certificate_and_have_the_token() {
    let Some(plane) = ControlPlane::shared().await else { return };
    let token = plane.folder().join("page.token");
    std::fs::write(&token, "a-token-of-a-test\n").expect("the folder can be written");
    let port = free_port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_retile-controller"));
    command
        .args(["--dry-run", "--health-address=127.0.0.1:0"])
        .arg(format!("--metrics-address=127.0.0.1:{port}"))
        .arg("--kubeconfig")
        .arg(plane.administrator_kubeconfig())
        .arg("--metrics-certificate")
        .arg(plane.folder().join("server.crt"))
        .arg("--metrics-key")
        .arg(plane.folder().join("server.key"))
        .arg("--metrics-token-file")
        .arg(&token);
    let mut controller = plane.daemon("controller-with-tls", command);
    let authority = plane.folder().join("authority.crt");
    let friend = scraper(port, &authority, "a-token-of-a-test").await;
    let page = eventually("the page is served", async || {
        controller.must_run();
        metrics(&friend).await.ok()
    })
    .await;
    assert!(page.contains("retile_build_info{") && page.ends_with("# EOF\n"), "{page}");

    let stranger = scraper(port, &authority, "another-token").await;
    let refused = metrics(&stranger).await.expect_err("the token is another");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "{refused:?}");

    // A certificate that the client's authority has not signed: somebody else may be answering.
    let key = rcgen::KeyPair::generate().expect("a key");
    let other = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name").self_signed(&key);
    let file = plane.folder().join("other-authority.crt");
    std::fs::write(&file, other.expect("a certificate").pem()).expect("the folder can be written");
    let wary = scraper(port, &file, "a-token-of-a-test").await;
    let refused = metrics(&wary).await.expect_err("the authority is another");
    assert!(format!("{refused:?}").contains("UnknownIssuer"), "{refused:?}");
}
