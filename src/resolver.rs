//! Resolves host names: `/etc/hosts` first, then the name servers of `/etc/resolv.conf`.
//!
//! glibc's `getaddrinfo` loads the host's NSS modules. A statically linked program crashes there when the
//! host's glibc differs from the build machine's, so every lookup of this program goes through
//! [`Resolver::lookup`]. Both files are read again when they change, as glibc does. Answers are not cached:
//! the name server does that.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use reqwest::dns::{Addrs, Resolve, Resolving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The C library's default when `/etc/resolv.conf` is missing or names no server.
const DEFAULT_NAME_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const DNS_PORT: u16 = 53;

/// Larger than a UDP answer without extensions (512 bytes).
const MAX_DATAGRAM: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name server knows no such name, or no address of it.
    #[error("the host name does not resolve")]
    NotFound,
    /// No name server answered; the name may exist.
    #[error("no name server answered: {0}")]
    Unavailable(String),
}

/// Resolves host names. Clones share the parsed files.
#[derive(Clone)]
pub struct Resolver(Arc<ResolverState>);

struct ResolverState {
    resolv_conf: PathBuf,
    hosts: PathBuf,
    port: u16,
    loaded: Mutex<Option<(Stamps, Arc<LoadedConfig>)>>,
}

/// The parsed content of the two files.
struct LoadedConfig {
    /// By name, in lower case.
    hosts: HashMap<String, Vec<IpAddr>>,
    /// Queried one after another in this order: the first may know names of a private network that the second
    /// denies.
    servers: Vec<SocketAddr>,
    /// Timeout of one query.
    timeout: Duration,
    /// How often the whole list is queried.
    attempts: usize,
    search: Vec<Name>,
    /// Names with fewer dots are tried in the search domains first.
    ndots: usize,
}

/// Modification time and size of both files, to detect changes.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Resolver").field(&self.0.resolv_conf).finish()
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::with_files("/etc/resolv.conf".into(), "/etc/hosts".into(), DNS_PORT)
    }
}

impl Resolver {
    fn with_files(resolv_conf: PathBuf, hosts: PathBuf, port: u16) -> Resolver {
        Resolver(Arc::new(ResolverState { resolv_conf, hosts, port, loaded: Mutex::default() }))
    }

    /// The addresses of a host, the preferred ones first, with port 0. A textual address is returned as it
    /// is.
    ///
    /// # Errors
    /// If there is no address, or no name server answered within the timeouts of `/etc/resolv.conf`.
    pub async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, LookupError> {
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = literal.parse() {
            return Ok(vec![SocketAddr::new(ip, 0)]);
        }
        let name = Name::from_str_relaxed(host).map_err(|_| LookupError::NotFound)?.to_lowercase();
        let loaded = self.loaded();
        let written = name.to_ascii();
        let mut found = loaded.hosts.get(written.trim_end_matches('.')).cloned().unwrap_or_default();
        if found.is_empty() {
            // Never sent to a name server (RFC 6761).
            match name.iter().next_back() {
                Some(b"localhost") => found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
                Some(b"invalid") => return Err(LookupError::NotFound),
                _ => {}
            }
        }
        for candidate in loaded.candidates(&name) {
            if !found.is_empty() {
                break;
            }
            found = loaded.ask(&candidate).await?;
        }
        if found.is_empty() {
            return Err(LookupError::NotFound);
        }
        found.sort_by_cached_key(|ip| rank(*ip, source_for(*ip)));
        found.dedup();
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect())
    }

    fn loaded(&self) -> Arc<LoadedConfig> {
        let stamps = [&self.0.resolv_conf, &self.0.hosts].map(|path| stamp(path));
        let mut loaded = self.0.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loaded {
            Some((at, loaded)) if *at == stamps => Arc::clone(loaded),
            _ => {
                let fresh = Arc::new(self.load());
                *loaded = Some((stamps, Arc::clone(&fresh)));
                fresh
            }
        }
    }

    /// A missing file is treated as empty; a line that cannot be parsed is ignored.
    fn load(&self) -> LoadedConfig {
        let text = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let (config, _) = resolv_conf::Config::parse_with_errors(text(&self.0.resolv_conf).as_bytes());
        let mut servers: Vec<IpAddr> = config.nameservers.iter().map(IpAddr::from).collect();
        if servers.is_empty() {
            servers.push(DEFAULT_NAME_SERVER);
        }
        let search =
            config.get_last_search_or_domain().filter_map(|domain| Name::from_str_relaxed(domain).ok());
        LoadedConfig {
            hosts: read_hosts(&text(&self.0.hosts)),
            servers: servers.into_iter().map(|ip| SocketAddr::new(ip, self.0.port)).collect(),
            timeout: Duration::from_secs(config.timeout.max(1).into()),
            attempts: usize::try_from(config.attempts.max(1)).unwrap_or(1),
            search: search.collect(),
            ndots: usize::try_from(config.ndots).unwrap_or(1),
        }
    }
}

impl LoadedConfig {
    /// The absolute names that a name may stand for, in the order in which they are tried.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() {
            return vec![whole];
        }
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        // A name has one label more than dots.
        if usize::from(name.num_labels()) > self.ndots {
            std::iter::once(whole).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(whole)).collect()
        }
    }

    /// The addresses of an absolute name; empty if there are none. The first server that knows the name
    /// decides.
    async fn ask(&self, name: &Name) -> Result<Vec<IpAddr>, LookupError> {
        let mut failed = String::new();
        for server in std::iter::repeat_n(&self.servers, self.attempts).flatten() {
            let of = |kind| ask(*server, name, kind, self.timeout);
            let (four, six) = futures_util::future::join(of(RecordType::A), of(RecordType::AAAA)).await;
            match (four, six) {
                (Ok(four), Ok(six)) => return Ok([six, four].concat()),
                // Addresses of one family are enough; an error alone does not prove that there are none.
                (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.is_empty() => return Ok(found),
                (Err(e), _) | (_, Err(e)) => failed = format!("{}: {e}", server.ip()),
            }
        }
        Err(LookupError::Unavailable(failed))
    }
}

/// Sends one question to one server.
async fn ask(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    timeout: Duration,
) -> io::Result<Vec<IpAddr>> {
    // Must be unpredictable, like the port, so that a forged answer does not match.
    #[expect(clippy::disallowed_methods, reason = "must be unpredictable")]
    let id = RandomState::new().build_hasher().finish().to_le_bytes();
    let mut question = Message::new(u16::from_le_bytes([id[0], id[1]]), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    let answer = tokio::time::timeout(timeout, exchange(server, &question)).await??;
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer
            .answers
            .iter()
            .filter(|r| r.record_type() == kind)
            .filter_map(|r| r.data.ip_addr())
            .collect()),
        code => Err(io::Error::other(code.to_string())),
    }
}

/// Sends a question over UDP, and over TCP if the answer is too large for UDP.
async fn exchange(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let socket = tokio::net::UdpSocket::bind((unspecified(server.ip()), 0)).await?;
    socket.connect(server).await?;
    socket.send(&bytes).await?;
    let mut datagram = vec![0; MAX_DATAGRAM];
    loop {
        let size = socket.recv(&mut datagram).await?;
        match Message::from_vec(&datagram[..size]) {
            Ok(answer) if !answers(&answer, question) => {}
            Ok(answer) if !answer.metadata.truncation => return Ok(answer),
            Ok(_) => break,
            Err(_) => {}
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let size = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&size.to_be_bytes()[..], &bytes].concat()).await?;
    let mut whole = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut whole).await?;
    let answer = Message::from_vec(&whole).map_err(io::Error::other)?;
    if answers(&answer, question) {
        Ok(answer)
    } else {
        Err(io::Error::other("an answer to another question"))
    }
}

fn answers(answer: &Message, question: &Message) -> bool {
    let (received, sent) = (&answer.metadata, &question.metadata);
    received.message_type == MessageType::Response
        && received.id == sent.id
        && answer.queries == question.queries
}

impl Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.lookup(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn read_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse) else { continue };
        for name in words {
            hosts.entry(name.trim_end_matches('.').to_lowercase()).or_default().push(ip);
        }
    }
    hosts
}

fn unspecified(of: IpAddr) -> IpAddr {
    if of.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// The local address used to reach `to`; `None` without a route. Connecting a UDP socket sends no packet.
fn source_for(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, DNS_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The rules of RFC 6724 that matter here. Unreachable addresses come last; before them come public IPv6
/// addresses that would be reached from a private IPv6 address; IPv6 comes before IPv4.
fn rank(to: IpAddr, from: Option<IpAddr>) -> (bool, bool, bool) {
    let local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unique_local());
    (from.is_none(), from.is_some_and(|from| local(from) != local(to)), to.is_ipv4())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record};
    use tokio::net::TcpListener;

    use super::*;

    fn ips(found: Result<Vec<SocketAddr>, LookupError>) -> Result<Vec<String>, LookupError> {
        found.map(|all| all.iter().map(|a| a.ip().to_string()).collect())
    }

    /// A name server that knows `names` and counts its queries.
    async fn name_server(names: &'static [&'static str]) -> (u16, Arc<AtomicUsize>) {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let queries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&queries);
        tokio::spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((size, from)) = socket.recv_from(&mut packet).await {
                count.fetch_add(1, Ordering::Relaxed);
                let question = Message::from_vec(&packet[..size]).unwrap();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_queries(question.queries.clone());
                let query = &question.queries[0];
                let name = query.name().to_utf8();
                if !names.contains(&name.as_str()) {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                } else if name.starts_with("large.") {
                    answer.metadata.truncation = true;
                } else if query.query_type() == RecordType::A {
                    let address = RData::A(A::new(192, 0, 2, 7));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, address));
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        (port, queries)
    }

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(resolv_conf: &str, hosts: &str) -> Files {
            let files = Files(tempfile::tempdir().unwrap());
            files.write("resolv.conf", resolv_conf);
            files.write("hosts", hosts);
            files
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn resolver(&self, port: u16) -> Resolver {
            Resolver::with_files(self.0.path().join("resolv.conf"), self.0.path().join("hosts"), port)
        }
    }

    /// Names are compared without regard to case.
    #[tokio::test]
    async fn the_hosts_file_comes_first_and_is_read_again() {
        let (port, queries) = name_server(&["db.acme.test.", "a.b.acme.test."]).await;
        let files = Files::new(
            "nameserver 127.0.0.1\nsearch other.test acme.test\n",
            "127.0.0.9 db Page.test # mine\n",
        );
        let resolver = files.resolver(port);
        assert_eq!(ips(resolver.lookup("db").await).unwrap(), ["127.0.0.9"]);
        assert_eq!(ips(resolver.lookup("PAGE.test").await).unwrap(), ["127.0.0.9"]);
        assert_eq!(queries.load(Ordering::Relaxed), 0);
        files.write("hosts", "127.0.0.10 page.test\n");
        assert_eq!(ips(resolver.lookup("page.test").await).unwrap(), ["127.0.0.10"]);
        assert_eq!(ips(resolver.lookup("db").await).unwrap(), ["192.0.2.7"], "by its search domain");
        assert_eq!(ips(resolver.lookup("a.b").await).unwrap(), ["192.0.2.7"]);
        assert_eq!(resolver.lookup("db.").await, Err(LookupError::NotFound));
    }

    #[tokio::test]
    async fn an_unknown_name_differs_from_an_unreachable_server() {
        let (port, _) = name_server(&["page.acme.test."]).await;
        let files = Files::new("nameserver 127.0.0.1\n", "");
        let resolver = files.resolver(port);
        assert_eq!(resolver.lookup("nowhere.test").await, Err(LookupError::NotFound));
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let text = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\nsearch acme.test\n";
        let files = Files::new(text, "");
        let resolver = files.resolver(silent.local_addr().unwrap().port());
        let began = tokio::time::Instant::now();
        let error = resolver.lookup("page.acme.test").await.unwrap_err();
        assert!(matches!(error, LookupError::Unavailable(_)), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn the_next_name_server_is_queried_after_a_timeout() {
        let (port, _) = name_server(&["page.acme.test."]).await;
        let silent = std::net::UdpSocket::bind(("127.0.0.2", port)).unwrap();
        let text = "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:1\n";
        let files = Files::new(text, "");
        let resolver = files.resolver(port);
        assert_eq!(ips(resolver.lookup("page.acme.test").await).unwrap(), ["192.0.2.7"]);
        silent.set_nonblocking(true).unwrap();
        let mut question = [0; 512];
        assert!(silent.recv(&mut question).unwrap() > 0, "queried in the order of the file");
    }

    #[tokio::test]
    async fn large_answers_come_over_tcp() {
        let (port, _) = name_server(&["large.acme.test."]).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let question = Message::from_vec(&bytes).unwrap();
                let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
                answer.add_queries(question.queries.clone());
                let query = &question.queries[0];
                for last in 1..=100 {
                    let address = RData::A(A::new(192, 0, 2, last));
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, address));
                }
                let bytes = answer.to_vec().unwrap();
                stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        });
        let files = Files::new("nameserver 127.0.0.1\n", "");
        let resolver = files.resolver(port);
        assert_eq!(resolver.lookup("large.acme.test").await.unwrap().len(), 100);
    }

    #[tokio::test]
    async fn answers_to_other_questions_are_ignored() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((size, from)) = socket.recv_from(&mut packet).await {
                let question = Message::from_vec(&packet[..size]).unwrap();
                for (id, last) in [(question.metadata.id ^ 1, 66), (question.metadata.id, 7)] {
                    let mut answer = Message::response(id, question.metadata.op_code);
                    answer.add_queries(question.queries.clone());
                    let address = RData::A(A::new(192, 0, 2, last));
                    answer.add_answer(Record::from_rdata(question.queries[0].name().clone(), 60, address));
                    socket.send_to(b"x", from).await.unwrap();
                    socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        let files = Files::new("nameserver 127.0.0.1\n", "");
        assert_eq!(ips(files.resolver(port).lookup("page.acme.test").await).unwrap(), ["192.0.2.7"]);
    }

    #[tokio::test]
    async fn answers_are_not_cached() {
        let (port, queries) = name_server(&["page.acme.test."]).await;
        let files = Files::new("nameserver 127.0.0.1\n", "");
        let resolver = files.resolver(port);
        for _ in 0..2 {
            assert_eq!(ips(resolver.lookup("page.acme.test").await).unwrap(), ["192.0.2.7"]);
        }
        assert_eq!(queries.load(Ordering::Relaxed), 4);
    }

    /// An empty file means the name server on this machine.
    #[tokio::test]
    async fn textual_addresses_need_no_name_server() {
        let (port, _) = name_server(&["page.acme.test."]).await;
        let files = Files::new("", "");
        let resolver = files.resolver(port);
        assert_eq!(ips(resolver.lookup("192.0.2.1").await).unwrap(), ["192.0.2.1"]);
        assert_eq!(ips(resolver.lookup("[2001:db8::1]").await).unwrap(), ["2001:db8::1"]);
        assert_eq!(ips(resolver.lookup("page.acme.test").await).unwrap(), ["192.0.2.7"]);
    }

    /// A private IPv6 source address is not preferred for a public host.
    #[test]
    fn unreachable_addresses_come_last() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let order = |routes: &[(&str, Option<&str>)]| {
            let mut routes = routes.to_vec();
            routes.sort_by_key(|(to, from)| rank(ip(to), from.map(ip)));
            routes.into_iter().map(|(to, _)| to.to_owned()).collect::<Vec<_>>()
        };
        let (v4, v6) = (("192.0.2.1", Some("10.0.0.2")), "2001:db8::1");
        assert_eq!(order(&[v4, (v6, Some("2001:db8::2"))]), ["2001:db8::1", "192.0.2.1"]);
        assert_eq!(order(&[(v6, None), v4]), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(order(&[(v6, Some("fd00::2")), v4]), ["192.0.2.1", "2001:db8::1"]);
    }
}
