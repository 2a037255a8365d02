//! How this machine looks from outside: another callbox is asked, and its answer judged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use rustls::pki_types::CertificateDer;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::dial;
use super::dns;
use super::probe::{Sight, Wish, fingerprint};
use super::remedy::{self, Ports, Provider};
use super::report::{Finding, State};
use super::subject::Subject;
use crate::turn::stun::{AttributeType, Class, Message, Method, Writer};

/// For the whole answer: the other side's own deadline, and the way.
const PATIENCE: Duration = Duration::from_secs(9);

/// Where a callbox takes wishes.
pub const PATH: &str = "/probe";

/// Asks over each family in which we have an address, and judges what is said.
pub async fn examine(
    subject: &Subject,
    url: &str,
    leaf: Option<&CertificateDer<'_>>,
) -> Vec<Finding> {
    let unreachable = |why: String| {
        let text = format!("{url} cannot be asked how this machine looks from outside: {why}");
        Finding::failed(
            "outside.unreachable",
            text,
            format!("`curl -v {url}/` shows what stands in the way"),
        )
    };
    let Some((uri, host)) = url.parse::<Uri>().ok().and_then(|uri| {
        let host = uri.host()?.to_owned();
        Some((uri, host))
    }) else {
        return vec![unreachable("it is no URL".to_owned())];
    };
    let addresses = match dns::resolve(&subject.servers, &host).await {
        Ok(addresses) => addresses,
        Err(why) => return vec![unreachable(why)],
    };
    let families = [true, false].into_iter().filter_map(|is_v4| {
        let own = subject.advertised.iter().find(|ip| ip.is_ipv4() == is_v4)?;
        let other = addresses.iter().find(|ip| ip.is_ipv4() == is_v4)?;
        Some((*own, *other))
    });
    let asked = families.map(|(own, other)| {
        let server = SocketAddr::new(other, uri.port_u16().unwrap_or(443));
        let (uri, host) = (&uri, &host);
        async move { (own, ask(subject, server, uri, host).await) }
    });
    let answers = futures_util::future::join_all(asked).await;
    if answers.is_empty() {
        return vec![unreachable(
            "it has no address of a family that is advertised here".to_owned(),
        )];
    }
    let about = About {
        url,
        https: subject.https(),
        http: subject.http(),
        turn_udp: subject.turn_udp(),
        turn_tcp: subject.turn_tcp(),
        range: (
            *subject.settings.turn.relay_ports.start(),
            *subject.settings.turn.relay_ports.end(),
        ),
        leaf: leaf.map(|leaf| fingerprint(leaf)),
        provider: subject.provider,
    };
    let judged = answers.into_iter().flat_map(|(own, answer)| match answer {
        Ok((sight, relay)) => judge(own, &sight, relay, &about),
        Err(Trouble::Off) => vec![Finding::failed(
            "outside.off",
            format!("{url} does not probe others"),
            "set probes = true in [front] there; it is off unless its operator wants it",
        )],
        Err(Trouble::Other(why)) => vec![unreachable(why)],
    });
    judged.collect()
}

enum Trouble {
    Off,
    Other(String),
}

/// Asks one address, and answers on a relay port meanwhile.
async fn ask(
    subject: &Subject,
    server: SocketAddr,
    uri: &Uri,
    host: &str,
) -> Result<(Sight, Option<u16>), Trouble> {
    let relay = vacant(subject, server.is_ipv4()).await;
    let relay_port = relay
        .as_ref()
        .and_then(|socket| Some(socket.local_addr().ok()?.port()));
    let mut tcp: Vec<u16> = subject
        .http()
        .into_iter()
        .chain(subject.turn_tcp())
        .collect();
    tcp.retain(|port| Some(*port) != subject.https());
    let wish = Wish {
        name: subject.host(),
        tls: subject.https(),
        tcp,
        udp: subject.turn_udp().into_iter().chain(relay_port).collect(),
    };
    let exchange = async {
        let other = |why: String| Trouble::Other(format!("{server}: {why}"));
        let body = serde_json::to_vec(&wish).map_err(|error| other(error.to_string()))?;
        let stream = dial::tcp(server)
            .await
            .map_err(|closed| other(closed.to_string()))?;
        let stream = dial::tls(stream, host).await.map_err(other)?;
        let request = Request::post(PATH)
            .header(
                HOST,
                uri.authority().map_or(host, |authority| authority.as_str()),
            )
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| other(error.to_string()))?;
        let answer = dial::http(stream, request, PATIENCE).await.map_err(other)?;
        match answer.status().as_u16() {
            200 => serde_json::from_slice(answer.body()).map_err(|error| other(error.to_string())),
            404 | 405 => Err(Trouble::Off),
            status => {
                // A sentence of a stranger's, for a terminal.
                let said: String = String::from_utf8_lossy(answer.body())
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(200)
                    .collect();
                Err(other(format!("status {status}: {said}")))
            }
        }
    };
    let sight = tokio::select! {
        sight = exchange => sight?,
        () = answer_bindings(relay.as_ref()) => return Err(Trouble::Other("the relay port failed".to_owned())),
    };
    Ok((sight, relay_port))
}

/// A port of the relay range that nobody has at the moment.
async fn vacant(subject: &Subject, is_v4: bool) -> Option<UdpSocket> {
    let range = &subject.settings.turn.relay_ports;
    let any: IpAddr = match is_v4 {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    const TRIES: u16 = 16;
    let step = ((range.end() - range.start()) / TRIES).max(1);
    for port in range
        .clone()
        .rev()
        .step_by(usize::from(step))
        .take(usize::from(TRIES))
    {
        if let Ok(socket) = UdpSocket::bind((any, port)).await {
            return Some(socket);
        }
    }
    None
}

/// Answers whoever sends a Binding request, for as long as it is asked to. Without a socket it
/// waits.
async fn answer_bindings(socket: Option<&UdpSocket>) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    let mut bytes = [0; 512];
    loop {
        // An error of one packet's is none of the next one's; a lasting one must not make us spin.
        let Ok((len, from)) = socket.recv_from(&mut bytes).await else {
            let _ = timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
            continue;
        };
        let Ok(request) = Message::parse(bytes.get(..len).unwrap_or_default()) else {
            continue;
        };
        if (request.class(), request.method()) != (Class::Request, Method::BINDING) {
            continue;
        }
        let mut answer = [0; 64];
        let mut writer = Writer::new(
            &mut answer,
            Class::Success,
            Method::BINDING,
            request.transaction_id(),
        );
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, from);
        writer.fingerprint();
        if let Ok(len) = writer.finish() {
            let _ = socket
                .send_to(answer.get(..len).unwrap_or_default(), from)
                .await;
        }
    }
}

/// What was asked about.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Who was asked.
    pub url: &'a str,
    /// HTTPS.
    pub https: Option<u16>,
    /// Plain HTTP.
    pub http: Option<u16>,
    /// TURN over UDP.
    pub turn_udp: Option<u16>,
    /// TURN over TCP.
    pub turn_tcp: Option<u16>,
    /// First and last relay port.
    pub range: (u16, u16),
    /// Fingerprint of the certificate that we show.
    pub leaf: Option<String>,
    /// Where ports are opened.
    pub provider: Option<Provider>,
}

/// Judges one answer. `relay`: the relay port that was asked about.
pub fn judge(own: IpAddr, sight: &Sight, relay: Option<u16>, about: &About<'_>) -> Vec<Finding> {
    let url = about.url;
    if sight.source != own.to_string() {
        return vec![
            Finding::failed(
                "outside.address",
                format!(
                    "{url} sees this machine as {}, not as {own}, which is advertised",
                    sight.source
                ),
                format!(
                    "set external_ip = \"{}\", unless {own} is known to lead here too",
                    sight.source
                ),
            )
            .about(own),
        ];
    }
    if let (Some(leaf), Some(shown)) = (&about.leaf, &sight.certificate)
        && leaf != shown
    {
        return vec![
            Finding::failed(
                "outside.other",
                format!("who asks {own} for HTTPS from outside meets another server: the certificate is not ours"),
                "find what stands in between at the provider: a port forwarding, a load balancer, a CDN",
            )
            .about(own),
        ];
    }
    let mut findings = Vec::new();
    let tcp = [
        ("outside.https", about.https),
        ("outside.http", about.http),
        ("outside.turn-tcp", about.turn_tcp),
    ];
    let udp = [
        ("outside.turn-udp", about.turn_udp),
        ("outside.range", relay),
    ];
    let tcp = tcp
        .into_iter()
        .filter_map(|(id, port)| Some((id, Ports::tcp(port?), sight.tcp.get(&port?))));
    let udp = udp
        .into_iter()
        .filter_map(|(id, port)| Some((id, Ports::udp(port?), sight.udp.get(&port?))));
    for (id, port, state) in tcp.chain(udp) {
        let ports = match id {
            "outside.range" => Ports {
                transport: "UDP",
                first: about.range.0,
                last: about.range.1,
            },
            _ => port,
        };
        let known = |finding: &Finding| finding.subject == Some(format!("{ports} of {own}"));
        if findings.iter().any(known) {
            continue;
        }
        let finding = match state.map(String::as_str) {
            Some("open") => Finding::ok(id, format!("{port} of {own} is open, says {url}")),
            state => Finding::failed(
                id,
                format!(
                    "{port} of {own} is closed from outside, says {url} ({})",
                    state.unwrap_or("no answer")
                ),
                remedy::open(ports, about.provider),
            ),
        };
        findings.push(finding.about(format!("{ports} of {own}")));
    }
    findings
}

/// Adds what another callbox said. Where it sees us well, that nothing comes back to ourselves is
/// the network's way, and no fault.
pub fn settle(findings: &mut Vec<Finding>, outside: Vec<Finding>) {
    let is_well = !outside.is_empty() && outside.iter().all(|finding| finding.state == State::Ok);
    for finding in findings.iter_mut().filter(|_| is_well) {
        if finding.id == "address.hairpin" {
            finding.state = State::Note;
            finding.text = "this network has no hairpin: this machine cannot reach itself by its advertised address, \
                            which others can; a [[proxy]] upstream must be named by its own address"
                .to_owned();
            finding.remedy = None;
        }
    }
    findings.extend(outside);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About<'static> {
        About {
            url: "https://other.example",
            https: Some(443),
            http: Some(80),
            turn_udp: Some(3478),
            turn_tcp: Some(3478),
            range: (49152, 65535),
            leaf: Some("aa".to_owned()),
            provider: None,
        }
    }

    fn sight(tcp: &[(u16, &str)], udp: &[(u16, &str)]) -> Sight {
        let map = |list: &[(u16, &str)]| {
            list.iter()
                .map(|(port, s)| (*port, (*s).to_owned()))
                .collect()
        };
        Sight {
            source: "203.0.113.50".to_owned(),
            certificate: Some("aa".to_owned()),
            tcp: map(tcp),
            udp: map(udp),
        }
    }

    fn broken(sight: &Sight) -> Vec<&'static str> {
        let found = judge(
            "203.0.113.50".parse().unwrap(),
            sight,
            Some(60000),
            &about(),
        );
        found
            .iter()
            .filter(|f| f.state == State::Failed)
            .map(|f| f.id)
            .collect()
    }

    #[test]
    fn what_is_closed_from_outside_is_named() {
        let tcp = [(443, "open"), (80, "open"), (3478, "open")];
        let udp = [(3478, "open"), (60000, "open")];
        assert_eq!(broken(&sight(&tcp, &udp)), Vec::<&str>::new());
        assert_eq!(
            broken(&sight(&tcp, &[(3478, "silent"), (60000, "open")])),
            ["outside.turn-udp"]
        );
        assert_eq!(
            broken(&sight(&tcp, &[(3478, "open"), (60000, "silent")])),
            ["outside.range"]
        );
        assert_eq!(
            broken(&sight(&[(443, "refused"), (3478, "open")], &udp)),
            ["outside.https", "outside.http"]
        );
        let mut other = sight(&tcp, &udp);
        other.certificate = Some("bb".to_owned());
        assert_eq!(broken(&other), ["outside.other"]);
        other.source = "203.0.113.51".to_owned();
        assert_eq!(broken(&other), ["outside.address"]);
    }

    #[test]
    fn a_missing_hairpin_is_no_fault_once_others_get_in() {
        let hairpin = || vec![Finding::failed("address.hairpin", "x", "y")];
        let mut findings = hairpin();
        settle(&mut findings, vec![Finding::ok("outside.https", "open")]);
        assert_eq!(findings[0].state, State::Note);
        for outside in [vec![], vec![Finding::failed("outside.off", "x", "y")]] {
            let mut findings = hairpin();
            settle(&mut findings, outside);
            assert_eq!(findings[0].state, State::Failed);
        }
    }
}
