//! TLS for PostgreSQL: trusts the system's roots and those of `EXTRA_CA_FILE`. Certificates are always verified.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;

pub(super) fn connector(extra_ca: Option<&Path>) -> Result<MakeRustlsConnect, DatabaseError> {
    let provider = Arc::new(ring::default_provider());
    let extra = extra_ca.map(authorities).transpose()?.unwrap_or_default();
    let unusable = |e: rustls::Error| {
        let reason = format!("{e} (is the package ca-certificates installed, or SSL_CERT_FILE set?)");
        DatabaseError::trust("the system's certificate store", reason)
    };
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(unusable)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, DatabaseError> {
    let bad = |reason: String| DatabaseError::trust(format!("EXTRA_CA_FILE {}", path.display()), reason);
    let found = CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| bad(e.to_string()))?;
    if found.is_empty() { Err(bad("no certificate in it (PEM expected)".into())) } else { Ok(found) }
}
