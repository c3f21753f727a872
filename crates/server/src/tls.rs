//! TLS from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use silt_sql::{Error, ErrorKind, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Where keys and certificates are, as PEM.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The server's certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Roots of the certificates that clients must show; none asks for none.
    pub client_roots: Option<PathBuf>,
}

/// Reads the files.
///
/// # Errors
/// `Io` if one cannot be read, `Invalid` if it does not hold what it should.
pub(crate) fn acceptor(options: &TlsOptions) -> Result<TlsAcceptor> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal(format!("TLS: {error}")))?;
    let builder = match &options.client_roots {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unfit(path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder
                .with_client_cert_verifier(verifier.build().map_err(|error| unfit(path, &error))?)
        }
    };
    let chain = certificates(&options.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&options.key)?);
    let key = key.map_err(|error| unfit(&options.key, &error))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unfit(&options.certificate, &error))?;
    // gRPC is HTTP/2.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<std::result::Result<Vec<_>, _>>();
    let found = found.map_err(|error| unfit(path, &error))?;
    if found.is_empty() {
        return Err(unfit(path, &"it holds no certificate"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    #[expect(clippy::disallowed_methods, reason = "a file of the operator's, not the engine's")]
    let bytes = std::fs::read(path);
    bytes.map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read {}: {error}", path.display()))
    })
}

fn unfit(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("{} cannot be used: {error}", path.display()))
}
