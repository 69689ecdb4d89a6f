//! TLS: private certificate authorities, and redirects from https to http.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::http_client::install_crypto;
use crate::processes::binary::output;
use stand_ins::status_page::StatusPage;

const STATUS: &str = "{\"page\":{\"id\":\"x\",\"name\":\"Inner\",\"url\":\"https://inner.test\"},\
                      \"status\":{\"indicator\":\"minor\",\"description\":\"Slow\"}}";

/// The configuration of a server for these hosts, whose certificate a private authority issued, and the authority's
/// certificate.
pub(crate) fn server_for(hosts: &[&str]) -> (Arc<ServerConfig>, String) {
    install_crypto();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let page = CertificateParams::new(hosts).unwrap();
    let page = page.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    (Arc::new(config.with_single_cert(vec![page.der().clone()], key).unwrap()), authority.pem())
}

/// Reads the head of a request; empty if the client disconnected first.
pub(crate) fn head_of_request(wire: &mut impl Read) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut bytes = [0; 1024];
    while !heard.ends_with(b"\r\n\r\n") {
        match wire.read(&mut bytes) {
            Ok(count) if count > 0 => heard.extend_from_slice(&bytes[..count]),
            // A client that doesn't trust the certificate disconnects in the handshake.
            _ => return Vec::new(),
        }
    }
    heard
}

/// An https page with the same response to every request. Returns its address and the authority's certificate.
fn serve(answer: String) -> (String, String) {
    let (config, authority) = server_for(&["localhost"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let mut wire = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), socket);
            head_of_request(&mut wire);
            let _ = wire.write_all(answer.as_bytes());
            wire.conn.send_close_notify();
            let _ = wire.flush();
        }
    });
    (url, authority)
}

fn watching(url: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    let text = format!("name = \"Inner\"\nurl = \"{url}\"\n");
    fs::write(folder.path().join("monitors/inner.toml"), text).unwrap();
    folder
}

/// Without it the reason is clear.
#[test]
fn a_private_authority_is_trusted_if_extra_ca_file_names_it() {
    let length = STATUS.len();
    let (url, authority) = serve(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{STATUS}"
    ));
    let folder = watching(&url);
    fs::write(folder.path().join("ca.pem"), authority).unwrap();
    let (_, out, err) = output(folder.path(), &["check"], &[]);
    assert!(out.contains("TLS: ") && out.contains("UnknownIssuer"), "{out}{err}");
    let (_, out, err) = output(folder.path(), &["check"], &[("EXTRA_CA_FILE", "ca.pem")]);
    assert!(out.contains("minor") && out.contains("Slow"), "{out}{err}");
}

/// An attacker in between could answer.
#[test]
fn no_redirect_leads_from_https_to_http() {
    let page = StatusPage::start();
    let plain = page.url();
    let (url, authority) = serve(format!(
        "HTTP/1.1 302 Found\r\nlocation: {plain}/api/v2/status.json\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ));
    let folder = watching(&url);
    fs::write(folder.path().join("ca.pem"), authority).unwrap();
    let (_, out, err) = output(folder.path(), &["check"], &[("EXTRA_CA_FILE", "ca.pem")]);
    assert!(out.contains("redirected from https down to http"), "{out}{err}");
    assert!(page.requests().is_empty(), "{}", page.dump());
}
