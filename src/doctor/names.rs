//! Do the host names lead here?

use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::CertificateDer;

use super::dial;
use super::dns::{self, Answer, Record};
use super::report::Finding;
use super::subject::Subject;

/// Who answers at an address that is neither this machine's nor advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It shows the certificate that we show: this machine behind a NAT or a load balancer.
    Us,
    /// Somebody else, or nobody.
    Stranger,
}

/// What is known of one name.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Its IPv4 addresses.
    pub a: Answer,
    /// Its IPv6 addresses.
    pub aaaa: Answer,
    /// Those that are not obviously ours.
    pub others: Vec<(IpAddr, Identity)>,
}

/// Asks for each name. `leaf`: what the front door shows here.
pub async fn observe(subject: &Subject, leaf: Option<&CertificateDer<'_>>) -> Vec<Named> {
    let names = subject
        .settings
        .host
        .iter()
        .filter(|name| name.parse::<IpAddr>().is_err());
    let asked = names.map(|name| one(subject, name, leaf));
    futures_util::future::join_all(asked).await
}

async fn one(subject: &Subject, name: &str, leaf: Option<&CertificateDer<'_>>) -> Named {
    let (a, aaaa) = tokio::join!(
        dns::ask(&subject.servers, name, Record::A),
        dns::ask(&subject.servers, name, Record::Aaaa)
    );
    let addresses = [&a, &aaaa].into_iter().flat_map(|answer| match answer {
        Answer::Addresses(list) => list.as_slice(),
        Answer::Dead(_) => &[],
    });
    // A name with a hundred addresses is not led here by asking each.
    const MAX_ASKED: usize = 8;
    let unknown: Vec<IpAddr> = addresses
        .copied()
        .filter(|ip| !subject.is_local(*ip) && !subject.advertised.contains(ip))
        .take(MAX_ASKED)
        .collect();
    let asked = unknown.into_iter().map(|ip| async move {
        let is_us = match (leaf, subject.https()) {
            (Some(leaf), Some(port)) => shows(SocketAddr::new(ip, port), name, leaf).await,
            _ => false,
        };
        let identity = match is_us {
            true => Identity::Us,
            false => Identity::Stranger,
        };
        (ip, identity)
    });
    Named {
        name: name.to_owned(),
        others: futures_util::future::join_all(asked).await,
        a,
        aaaa,
    }
}

/// Whether whoever answers there has this certificate, and its key.
pub async fn shows(address: SocketAddr, name: &str, leaf: &CertificateDer<'_>) -> bool {
    let Ok(stream) = dial::tcp(address).await else {
        return false;
    };
    let shown = dial::tls(stream, name).await;
    shown.is_ok_and(|stream| dial::chain(&stream).first() == Some(leaf))
}

/// Judges all names.
pub fn judge(named: &[Named], local: &[IpAddr], advertised: &[IpAddr]) -> Vec<Finding> {
    let dead = named
        .iter()
        .find_map(|named| match (&named.a, &named.aaaa) {
            (Answer::Dead(why), Answer::Dead(_)) => Some((&named.name, why)),
            _ => None,
        });
    if let Some((name, why)) = dead {
        return vec![Finding::failed(
            "dns.dead",
            format!("no name server answers this machine: {why}"),
            format!(
                "`dig {name} A` shows the same; correct the nameserver lines of /etc/resolv.conf, or let UDP 53 out"
            ),
        )];
    }
    named
        .iter()
        .flat_map(|named| judge_one(named, local, advertised))
        .collect()
}

fn judge_one(named: &Named, local: &[IpAddr], advertised: &[IpAddr]) -> Vec<Finding> {
    let name = &named.name;
    let mut findings = Vec::new();
    let mut known = 0;
    for (record, answer) in [(Record::A, &named.a), (Record::Aaaa, &named.aaaa)] {
        let Answer::Addresses(addresses) = answer else {
            findings.push(
                Finding::skipped("dns", format!("nothing is known of the {record} record"))
                    .about(name),
            );
            continue;
        };
        for ip in addresses {
            known += 1;
            let here = local.contains(ip) || advertised.contains(ip);
            let us = named
                .others
                .iter()
                .any(|(other, who)| other == ip && *who == Identity::Us);
            if here || us {
                findings.push(Finding::ok("dns", format!("{record} {ip} leads here")).about(name));
                continue;
            }
            let right = advertised.iter().find(|own| own.is_ipv4() == ip.is_ipv4());
            let remedy = match right {
                Some(right) => format!(
                    "at the DNS provider: change {record} of {name} to {right}; or, if {ip} is this machine's, set external_ip = \"{ip}\""
                ),
                None => format!(
                    "at the DNS provider: remove {record} {ip} of {name}, for this machine has no such address; `dig {name} {record}` shows it"
                ),
            };
            findings.push(
                Finding::failed(
                    "dns.elsewhere",
                    format!(
                        "the {record} record of {name} says {ip}, which is neither this machine's nor its external_ip ({})",
                        list(advertised)
                    ),
                    remedy,
                )
                .about(name),
            );
        }
    }
    if known == 0 {
        findings.retain(|finding| finding.id != "dns");
        let right = advertised.first().map_or_else(
            || "the address of this machine".to_owned(),
            IpAddr::to_string,
        );
        findings.push(
            Finding::failed(
                "dns.missing",
                format!("{name} has neither an A nor an AAAA record"),
                format!("at the DNS provider: create the record {name} -> {right}; `dig {name}` shows when it is there"),
            )
            .about(name),
        );
    }
    findings
}

/// Addresses as people list them.
pub fn list(addresses: &[IpAddr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        _ => addresses
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    fn named(a: &[&str], aaaa: &[&str], others: &[(&str, Identity)]) -> Named {
        Named {
            name: "call.example".to_owned(),
            a: Answer::Addresses(ips(a)),
            aaaa: Answer::Addresses(ips(aaaa)),
            others: others
                .iter()
                .map(|(ip, who)| (ip.parse().unwrap(), *who))
                .collect(),
        }
    }

    #[test]
    fn each_record_is_judged_by_where_it_leads() {
        let (local, advertised) = (ips(&["10.0.0.2", "2001:db8::2"]), ips(&["192.0.2.9"]));
        let us = [("192.0.2.77", Identity::Us)];
        let them = [("192.0.2.66", Identity::Stranger)];
        for (case, expected) in [
            (named(&["192.0.2.9"], &[], &[]), vec!["dns"]),
            (
                named(&["192.0.2.9"], &["2001:db8::2"], &[]),
                vec!["dns", "dns"],
            ),
            (named(&["192.0.2.77"], &[], &us), vec!["dns"]),
            (named(&["192.0.2.66"], &[], &them), vec!["dns.elsewhere"]),
            (
                named(&["192.0.2.9", "192.0.2.66"], &[], &them),
                vec!["dns", "dns.elsewhere"],
            ),
            (
                named(&["192.0.2.9"], &["2001:db8::6"], &[]),
                vec!["dns", "dns.elsewhere"],
            ),
            (named(&[], &[], &[]), vec!["dns.missing"]),
        ] {
            let found = judge(std::slice::from_ref(&case), &local, &advertised);
            let ids: Vec<_> = found.iter().map(|finding| finding.id).collect();
            assert_eq!(ids, expected, "{case:?}");
        }
        let found = judge(&[named(&["192.0.2.66"], &[], &them)], &local, &advertised);
        let remedy = found[0].remedy.as_deref().unwrap();
        assert!(
            remedy.contains("change A of call.example to 192.0.2.9"),
            "{remedy}"
        );
        let found = judge(
            &[named(&["192.0.2.9"], &["2001:db8::6"], &[])],
            &local,
            &advertised,
        );
        let remedy = found[1].remedy.as_deref().unwrap();
        assert!(remedy.contains("remove AAAA 2001:db8::6"), "{remedy}");
    }

    #[test]
    fn dead_name_servers_are_named_once() {
        let dead = || Answer::Dead("192.0.2.53 does not answer".to_owned());
        let mut one = named(&[], &[], &[]);
        (one.a, one.aaaa) = (dead(), dead());
        let found = judge(&[one.clone(), one.clone()], &[], &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, "dns.dead");
        assert!(found[0].text.contains("192.0.2.53"));
        one.a = Answer::Addresses(ips(&["192.0.2.9"]));
        let ids: Vec<_> = judge(&[one], &[], &ips(&["192.0.2.9"]))
            .iter()
            .map(|f| f.id)
            .collect();
        assert_eq!(ids, ["dns", "dns"]);
    }
}
