//! Certificates, keys, tokens and kubeconfig files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Who may speak to the API server from the start: token (that is also the user's id), user, groups. No secret: the server listens on
/// loopback and lives for one test.
const USERS: [(&str, &str, &str); 3] = [
    ("administrator-of-a-test", "administrator", "system:masters"),
    ("controller-manager-of-a-test", "system:kube-controller-manager", ""),
    ("scheduler-of-a-test", "system:kube-scheduler", ""),
];
/// Token of the administrator.
pub(super) const ADMINISTRATOR: &str = USERS[0].0;
/// Token of the controller manager.
pub(super) const MANAGER: &str = USERS[1].0;
/// Token of the scheduler.
pub(super) const SCHEDULER: &str = USERS[2].0;

/// The files by which servers and clients know each other.
#[derive(Debug)]
pub(super) struct Identity {
    folder: PathBuf,
}

impl Identity {
    /// Writes them into a folder.
    pub(super) fn make(folder: &Path) -> Self {
        let own = Self { folder: folder.to_owned() };
        own.certificates().expect("certificates of plain names can be made");
        let accounts = KeyPair::generate().expect("a key");
        own.write("accounts.key", &accounts.serialize_pem());
        own.write("accounts.pub", &accounts.public_key_pem());
        let line = |(token, user, groups): &(&str, &str, &str)| format!("{token},{user},{token},\"{groups}\"\n");
        own.write("tokens.csv", &USERS.iter().map(line).collect::<String>());
        own
    }

    fn certificates(&self) -> Result<(), rcgen::Error> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key = KeyPair::generate()?;
        self.write("authority.crt", &authority.self_signed(&key)?.pem());
        let authority = Issuer::new(authority, key);
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from);
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "API server of a test");
        self.write("server.crt", &server.signed_by(&key, &authority)?.pem());
        self.write("server.key", &key.serialize_pem());
        Ok(())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the folder can be written");
    }

    /// One of the files.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Address of the API server.
    pub(super) fn url(port: u16) -> String {
        format!("https://127.0.0.1:{port}")
    }

    /// A kubeconfig file for whoever has this token; replaces an older one of the same name.
    pub(super) fn kubeconfig(&self, name: &str, port: u16, token: &str) -> PathBuf {
        let path = self.path(&format!("{name}.kubeconfig"));
        let authority = self.path("authority.crt");
        let text = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": Self::url(port), "certificate-authority": authority}}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        });
        // Tests write the same file at the same time, and a reader never sees half of it.
        let mut draft = tempfile::NamedTempFile::new_in(&self.folder).expect("the folder can be written");
        draft.write_all(text.to_string().as_bytes()).expect("the folder can be written");
        draft.persist(&path).expect("the same folder");
        path
    }
}
