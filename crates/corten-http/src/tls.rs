//! TLS on both sides: files become settings. The one module that names the library, with [`crate::server`]'s and
//! [`crate::client`]'s carriers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_std::PathError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// A file holds nothing of what it should.
    #[error("`{}` has no {what} in PEM form", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The pieces do not fit each other, or use what is not supported.
    #[error("cannot use the TLS files: {0}")]
    Unusable(String),
}

impl corten_std::Classified for TlsError {
    fn class(&self) -> corten_std::ErrorClass {
        corten_std::ErrorClass::InvalidParameter
    }
}

/// Files that one side proves itself with and checks the other by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that the other side's certificate must come from.
    pub authority: Option<PathBuf>,
    /// Our own certificate, and behind it those it was signed by.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether the other side's certificate is checked.
    pub verify: bool,
}

/// A server's settings, read and checked.
#[derive(Clone, Debug)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// Reads the files. With `verify` only clients with a certificate from the authority are let in.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = if files.verify {
            let roots = roots(named(files.authority.as_deref(), "an authority")?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| TlsError::Unusable(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let certificates = certificates(named(files.certificate.as_deref(), "a certificate")?)?;
        let key = key(named(files.key.as_deref(), "a key")?)?;
        let mut config = builder.with_single_cert(certificates, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with a client over an open connection.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<tokio_rustls::server::TlsStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        tokio_rustls::TlsAcceptor::from(Arc::clone(&self.0)).accept(stream).await
    }
}

/// A client's settings, read and checked.
pub(crate) fn client(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = if files.verify {
        builder.with_root_certificates(roots(named(files.authority.as_deref(), "an authority")?)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    };
    let mut config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key_file)) => {
            builder.with_client_auth_cert(certificates(certificate)?, key(key_file)?).map_err(unusable)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// How a client of servers anywhere proves and checks: towards registries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct WorldFiles {
    /// Certificates of authorities that are believed besides the system's.
    pub authorities: Vec<PathBuf>,
    /// Our own certificate and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
    /// Whether the other side's certificate is taken unchecked.
    pub skip_verify: bool,
}

/// A connection that TLS is spoken over, as the client.
pub type WorldStream<S> = tokio_rustls::client::TlsStream<S>;

/// A client's settings towards servers anywhere, read and checked.
#[derive(Clone, Debug)]
pub struct WorldTls(Arc<ClientConfig>);

impl WorldTls {
    /// Reads the files, and the system's certificates of authorities.
    pub fn load(files: &WorldFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = if files.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            let mut all = RootCertStore::empty();
            // What the system has and this library does not understand is left out, as everywhere.
            all.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            for path in &files.authorities {
                for certificate in certificates(path)? {
                    all.add(certificate).map_err(unusable)?;
                }
            }
            builder.with_root_certificates(all)
        };
        let mut config = match &files.pair {
            Some((certificate, key_file)) => {
                builder.with_client_auth_cert(certificates(certificate)?, key(key_file)?).map_err(unusable)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with the server of that name over an open connection.
    pub async fn connect<S>(&self, name: &str, stream: S) -> std::io::Result<WorldStream<S>>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        tokio_rustls::TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

fn unusable(error: rustls::Error) -> TlsError {
    TlsError::Unusable(error.to_string())
}

fn named<'path>(path: Option<&'path Path>, what: &str) -> Result<&'path Path, TlsError> {
    path.ok_or_else(|| TlsError::Unusable(format!("{what} is not named")))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = corten_std::file::read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(TlsError::Missing { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = corten_std::file::read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| TlsError::Missing { path: path.to_owned(), what: "private key" })
}

/// Takes any server: what `--tls` without `--tlsverify` asks for. Signatures are checked all the same, so that the
/// connection is at least to whoever showed the certificate.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
