//! Hands out ICE configurations: the parts that stay the same from one client to the next.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Configuration, Credential, Endpoints, Offer};
use crate::config::Secret;
use crate::config::settings::{ExtraServer, IcePolicy};

/// What every configuration is made of.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Shared secret of TURN credentials.
    pub secret: Secret,
    /// Where STUN and TURN are listening.
    pub endpoints: Endpoints,
    /// How long a credential may be used.
    pub ttl: Duration,
    /// Which candidates clients shall use.
    pub policy: IcePolicy,
    /// Servers of others.
    pub extra_servers: Vec<ExtraServer>,
}

impl Issuer {
    /// The configuration of the client `id`, which reaches us as `host`, at `now` (seconds since
    /// 1970).
    pub fn issue(&self, host: &str, id: &str, now: u64) -> Configuration {
        let credential = Credential::new(&self.secret, id, now, self.ttl);
        Configuration::new(&Offer {
            host,
            endpoints: self.endpoints,
            credential: &credential,
            now,
            policy: self.policy,
            extra_servers: &self.extra_servers,
        })
    }
}

impl Configuration {
    /// The fields of the browser's own `RTCConfiguration`, and for how long they are good.
    pub fn for_browsers(&self) -> Value {
        json!({
            "iceServers": self.ice_servers,
            "iceTransportPolicy": self.ice_transport_policy,
            "ttl": self.ttl,
            "expires_at": self.expires_at,
        })
    }
}
