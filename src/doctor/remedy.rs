//! Where a port is opened: the firewall's name and place at the providers that people use. Pure.

use std::fmt;

/// Whose machine this is, as its firmware says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Amazon Web Services.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Cloud.
    Gcp,
    /// Alibaba Cloud.
    Aliyun,
    /// Tencent Cloud.
    Tencent,
    /// Hetzner Cloud.
    Hetzner,
}

impl Provider {
    /// From the texts of `/sys/class/dmi/id`.
    pub fn of_firmware(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let known = [
            ("amazon", Self::Aws),
            ("microsoft corporation", Self::Azure),
            ("google", Self::Gcp),
            ("alibaba", Self::Aliyun),
            ("tencent", Self::Tencent),
            ("hetzner", Self::Hetzner),
        ];
        known
            .iter()
            .find(|(name, _)| text.contains(name))
            .map(|(_, provider)| *provider)
    }

    /// Where its console has the rules for what may come in.
    pub const fn console(self) -> &'static str {
        match self {
            Self::Aws => "AWS: EC2 > Security Groups > Inbound rules > Edit",
            Self::Azure => "Azure: Network security group (NSG) > Inbound security rules > Add",
            Self::Gcp => "GCP: VPC network > Firewall > VPC firewall rules > Create (Ingress)",
            Self::Aliyun => {
                "Aliyun: ECS > Security Groups (\u{5b89}\u{5168}\u{7ec4}) > Inbound > Add Rule"
            }
            Self::Tencent => {
                "Tencent: CVM > Security Groups (\u{5b89}\u{5168}\u{7ec4}) > Inbound rules > Add rule"
            }
            Self::Hetzner => "Hetzner: Cloud Console > Firewalls > Inbound rules > Add rule",
        }
    }

    const ALL: [Self; 6] = [
        Self::Aws,
        Self::Azure,
        Self::Gcp,
        Self::Aliyun,
        Self::Tencent,
        Self::Hetzner,
    ];
}

/// A port, or several, of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// `TCP` or `UDP`.
    pub transport: &'static str,
    /// The first one.
    pub first: u16,
    /// The last one.
    pub last: u16,
}

impl Ports {
    /// One TCP port.
    pub const fn tcp(port: u16) -> Self {
        Self {
            transport: "TCP",
            first: port,
            last: port,
        }
    }

    /// One UDP port.
    pub const fn udp(port: u16) -> Self {
        Self {
            transport: "UDP",
            first: port,
            last: port,
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport,
            first,
            last,
        } = self;
        match first == last {
            true => write!(f, "{transport} {first}"),
            false => write!(f, "{transport} {first}-{last}"),
        }
    }
}

/// How to let `ports` in at the provider's firewall: one path where the provider is known.
pub fn open(ports: Ports, provider: Option<Provider>) -> String {
    let paths = match provider {
        Some(provider) => provider.console().to_owned(),
        None => Provider::ALL.map(Provider::console).join("; "),
    };
    format!("let {ports} in from 0.0.0.0/0 and ::/0 at the provider's firewall ({paths})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_provider_is_known_by_its_firmware() {
        for (text, expected) in [
            ("Amazon EC2\nc5.large\n", Some(Provider::Aws)),
            (
                "Microsoft Corporation\nVirtual Machine\n",
                Some(Provider::Azure),
            ),
            ("Google\nGoogle Compute Engine\n", Some(Provider::Gcp)),
            ("Alibaba Cloud\nAlibaba Cloud ECS\n", Some(Provider::Aliyun)),
            ("Tencent Cloud\nCVM\n", Some(Provider::Tencent)),
            ("Hetzner\nvServer\n", Some(Provider::Hetzner)),
            ("QEMU\nStandard PC\n", None),
            ("", None),
        ] {
            assert_eq!(Provider::of_firmware(text), expected, "{text}");
        }
    }

    #[test]
    fn one_path_is_shown_where_the_provider_is_known_and_all_of_them_elsewhere() {
        let range = Ports {
            transport: "UDP",
            first: 49152,
            last: 65535,
        };
        let hetzner = open(range, Some(Provider::Hetzner));
        assert!(hetzner.contains("UDP 49152-65535") && hetzner.contains("Firewalls"));
        assert!(!hetzner.contains("AWS"));
        let all = open(Ports::tcp(443), None);
        for name in [
            "AWS",
            "NSG",
            "VPC firewall",
            "Aliyun",
            "Tencent",
            "Hetzner",
            "TCP 443 ",
        ] {
            assert!(all.contains(name), "{name}: {all}");
        }
    }
}
