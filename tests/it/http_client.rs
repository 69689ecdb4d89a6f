//! An HTTP client for tests.

/// No proxy, no redirects, no TLS, and the crypto provider installed.
pub(crate) fn client() -> reqwest::Client {
    install_crypto();
    // Without roots of its own, each client would read and parse the machine's.
    let plain = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    plain.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Installs the process-wide crypto provider, which reqwest needs even for plain http. Cheap to call again.
pub(crate) fn install_crypto() {
    // An error means that another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
