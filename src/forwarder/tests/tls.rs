//! A destination with a certificate of its own authority, which asks us for ours.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};

use super::*;

/// An authority, and what it has signed: for the collector, and for us.
struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        Pki { authority, dir }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.authority).unwrap(), key)
    }

    /// Our certificate and key, as files.
    fn client(&self) -> ForwardTls {
        let (cert, key) = self.issue("daemon");
        let put = |name: &str, text: String| {
            let path = self.dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            Some(path)
        };
        let ca = Some(self.dir.path().join("ca.pem"));
        ForwardTls { ca, cert: put("cert.pem", cert.pem()), key: put("key.pem", key.serialize_pem()) }
    }

    async fn serve(&self, collector: &Collector) -> SocketAddr {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.authority.der().to_vec())).unwrap();
        let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
        let (cert, key) = self.issue("localhost");
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(post(take)).with_state(collector.clone());
        let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
        let server = axum_server::from_tcp_rustls(listener, config).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
        address
    }
}

#[tokio::test]
async fn both_ends_show_who_they_are() {
    let (pki, collector) = (Pki::new(), Collector::default());
    let address = pki.serve(&collector).await;
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let there = || forward(format!("https://localhost:{}", address.port()), protocol);
        let door = Door::new("t", &Forward { tls: pki.client(), ..there() }).unwrap();
        collector
            .answer(tonic::Status::new(tonic::Code::InvalidArgument, "seen").into_http::<axum::body::Body>());
        match door.send(Signal::Logs, request()).await {
            Outcome::Sent { .. } if protocol == Protocol::Http => {}
            Outcome::Refused(why) if protocol == Protocol::Grpc => assert!(why.contains("seen"), "{why}"),
            other => panic!("{protocol:?}: {other:?}"),
        }
        let stranger = ForwardTls { ca: pki.client().ca, ..ForwardTls::default() };
        let door = Door::new("t", &Forward { tls: stranger, ..there() }).unwrap();
        let outcome = door.send(Signal::Logs, request()).await;
        assert!(matches!(outcome, Outcome::Later(..)), "without our certificate: {outcome:?}");
        let outcome = Door::new("t", &there()).unwrap().send(Signal::Logs, request()).await;
        assert!(matches!(&outcome, Outcome::Later(why, _) if why.contains("certificate")), "{outcome:?}");
    }
    assert_eq!(collector.0.lock().unwrap().asked.len(), 2);
}

#[test]
fn a_file_that_is_no_certificate_is_named() {
    let pki = Pki::new();
    let nonsense = pki.dir.path().join("none.pem");
    fs::write(&nonsense, "no certificate").unwrap();
    let problem = |tls: ForwardTls| {
        let config = Forward { tls, ..forward("https://localhost:1".to_owned(), Protocol::Http) };
        Door::new("team", &config).err().unwrap().to_string()
    };
    let missing = problem(ForwardTls { ca: Some(Path::new("/no/such").to_owned()), ..ForwardTls::default() });
    assert!(missing.starts_with("forward.team.tls.ca /no/such: "), "{missing}");
    let empty = problem(ForwardTls { ca: Some(nonsense.clone()), ..ForwardTls::default() });
    assert!(empty.starts_with("forward.team.tls.ca ") && empty.contains("PEM"), "{empty}");
    let client = pki.client();
    let bad = problem(ForwardTls { cert: Some(nonsense), ..pki.client() });
    assert!(bad.starts_with("forward.team.tls.cert "), "{bad}");
    let key = client.key.clone().unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = problem(client);
    assert!(open.contains("forward.team.tls.key") && open.contains("chmod 600"), "{open}");
}
