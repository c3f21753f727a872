//! TLS, and who may be reached from where.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use silt_server::{ServerOptions, TlsOptions};
use silt_sql::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::guarded::{
    PASSWORD, connected, database, rows, serve_over, until, with_http, with_users,
};
use crate::harness::options;

/// Certificates of one authority, as files.
pub struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |what| self.folder.path().join(format!("{name}.{what}.pem"));
        std::fs::write(path("cert"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("cert"), path("key"))
    }

    pub fn tls(&self, client_roots: Option<PathBuf>) -> TlsOptions {
        let (certificate, key) = self.issue("localhost");
        TlsOptions { certificate, key, client_roots }
    }

    /// What a client of the server needs, perhaps with a certificate of its own.
    pub fn connector(&self, own: Option<(PathBuf, PathBuf)>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        certificates(&self.roots()).for_each(|root| roots.add(root).unwrap());
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(&std::fs::read(key).unwrap()).unwrap();
                let chain = certificates(&certificate).collect();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

fn certificates(path: &Path) -> impl Iterator<Item = CertificateDer<'static>> {
    let pem = std::fs::read(path).unwrap();
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap).collect();
    found.into_iter()
}

/// A port that speaks TLS to the server for clients that do not.
pub async fn tunnel(server: SocketAddr, connector: TlsConnector) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut plain, _)) = listener.accept().await {
            let connector = connector.clone();
            tokio::spawn(async move {
                let stream = TcpStream::connect(server).await.unwrap();
                plain.set_nodelay(true).unwrap();
                stream.set_nodelay(true).unwrap();
                let name = ServerName::try_from("localhost").unwrap();
                let Ok(mut encrypted) = connector.connect(name, stream).await else { return };
                drop(copy_bidirectional(&mut plain, &mut encrypted).await);
            });
        }
    });
    address
}

/// Shakes hands, to whatever end.
pub async fn handshake(connector: &TlsConnector, stream: TcpStream) {
    drop(connector.connect(ServerName::try_from("localhost").unwrap(), stream).await);
}

/// What abusers need, who ask no server who it is. The server has done its part of the handshake,
/// the dear one, when they find that they do not know its roots.
pub fn connector_to_anybody() -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty());
    TlsConnector::from(Arc::new(builder.with_no_client_auth()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_encrypted_and_others_do_not_get_through() {
    let authority = Authority::new();
    let limits = ServerOptions {
        tls: Some(authority.tls(None)),
        tls_handshake_timeout: Duration::from_secs(2),
        ..with_http()
    };
    let server = serve_over(&with_users(), limits);
    let address = tunnel(server.local_addr(), authority.connector(None)).await;
    let mut client = connected(address).await.unwrap();
    client.handshake("rita", &format!("rita{PASSWORD}")).await.unwrap();
    assert_eq!(rows(&mut client, "SELECT b FROM t").await.unwrap(), "one");

    // Without TLS nothing is understood.
    let mut plain = TcpStream::connect(server.local_addr()).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.windows(2).any(|bytes| bytes == b"h2"), "{answer:?}");
    until(&server, "silt_connections_turned_away_total{reason=\"tls\"}", |n| n >= 1.0).await;
    // Somebody else's roots do not know the server.
    let stranger = tunnel(server.local_addr(), Authority::new().connector(None)).await;
    let refused = match connected(stranger).await {
        Err(_) => true,
        Ok(mut client) => client.handshake("rita", &format!("rita{PASSWORD}")).await.is_err(),
    };
    assert!(refused);
    // Who begins a handshake and does not go on is sent away.
    let mut silent = TcpStream::connect(server.local_addr()).await.unwrap();
    silent.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok());
    until(&server, "silt_connections_turned_away_total{reason=\"late\"}", |n| n >= 1.0).await;
    assert_eq!(rows(&mut client, "SELECT b FROM t").await.unwrap(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_certificates_where_they_must() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let tls = Some(authority.tls(Some(authority.roots())));
    let server = serve_over(&with_users(), ServerOptions { tls, ..options() });
    let cases = [
        (Some(authority.issue("client")), true),
        (None, false),
        (Some(strangers.issue("client")), false),
    ];
    for (own, welcome) in cases {
        let address = tunnel(server.local_addr(), authority.connector(own)).await;
        let came_in = match connected(address).await {
            Err(_) => false,
            Ok(mut client) => client.handshake("rita", &format!("rita{PASSWORD}")).await.is_ok(),
        };
        assert_eq!(came_in, welcome);
    }
}

#[test]
fn nobody_beyond_this_machine_is_served_without_tls_and_users() {
    let authority = Authority::new();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (users, none) = (with_users(), database());
    let cases = [
        (&none, false, "needs TLS: --tls-cert FILE --tls-key FILE; and a user: silt user add"),
        (&users, false, "needs TLS: --tls-cert FILE --tls-key FILE"),
        (&none, true, "needs a user: silt user add NAME --role admin --db DB"),
    ];
    for (shared, encrypted, words) in cases {
        for http in [false, true] {
            let tls = encrypted.then(|| authority.tls(None));
            let mut limits = ServerOptions { tls, ..options() };
            match http {
                false => limits.listen = everywhere,
                true => limits.http = Some(everywhere),
            }
            let error = silt_server::serve(Arc::clone(shared), limits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(words), "{error}");
            assert!(error.message().contains("0.0.0.0:0"), "{error}");
        }
    }
    let tls = Some(authority.tls(None));
    let both = ServerOptions { listen: everywhere, tls, ..options() };
    let server = silt_server::serve(Arc::clone(&users), both).unwrap();
    server.shutdown();
    server.wait().unwrap();
}

#[test]
fn files_that_hold_no_key_or_certificate_are_named() {
    let authority = Authority::new();
    let good = authority.tls(None);
    let text = authority.folder.path().join("text.pem");
    std::fs::write(&text, "not a certificate").unwrap();
    let missing = authority.folder.path().join("missing.pem");
    for (bad, kind) in [(text, ErrorKind::Invalid), (missing, ErrorKind::Io)] {
        let cases = [
            TlsOptions { certificate: bad.clone(), ..good.clone() },
            TlsOptions { key: bad.clone(), ..good.clone() },
            TlsOptions { client_roots: Some(bad.clone()), ..good.clone() },
        ];
        for tls in cases {
            let limits = ServerOptions { tls: Some(tls), ..options() };
            let error = silt_server::serve(database(), limits).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(bad.to_str().unwrap()), "{error}");
        }
    }
}
