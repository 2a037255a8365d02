//! Which compressed form a client gets. Pure.

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
}

impl Encoding {
    /// The value of `Content-Encoding`, when there is one.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// What a client's `Accept-Encoding` says about the encodings we have, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    brotli: u16,
    gzip: u16,
    identity: u16,
}

impl Accepted {
    /// What a request without the header gets.
    pub const PLAIN: Self = Self {
        brotli: 0,
        gzip: 0,
        identity: FULL,
    };

    /// Reads the header (RFC 9110 section 12.5.3). Malformed elements count for nothing.
    pub fn parse(header: &str) -> Self {
        let (mut brotli, mut gzip, mut identity, mut others) = (None, None, None, None);
        for element in header.split(',') {
            let mut parameters = element.split(';');
            let coding = parameters.next().unwrap_or_default().trim();
            let mut weight = Some(FULL);
            for parameter in parameters {
                if let Some((name, value)) = parameter.split_once('=')
                    && name.trim().eq_ignore_ascii_case("q")
                {
                    weight = quality(value.trim());
                }
            }
            let Some(weight) = weight else { continue };
            match coding.to_ascii_lowercase().as_str() {
                "br" => brotli = Some(weight),
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => others = Some(weight),
                _ => {}
            }
        }
        Self {
            brotli: brotli.or(others).unwrap_or(0),
            gzip: gzip.or(others).unwrap_or(0),
            // Acceptable unless excluded, but what the client named comes first.
            identity: identity.or_else(|| others.filter(|q| *q == 0)).unwrap_or(1),
        }
    }

    /// The best of what there is. When the client excludes all of it, it gets plain bytes: a body
    /// it can read is better than an error (RFC 9110 section 12.4.1 lets us disregard the header).
    pub fn choose(self, has_brotli: bool, has_gzip: bool) -> Encoding {
        let brotli = if has_brotli { self.brotli } else { 0 };
        let gzip = if has_gzip { self.gzip } else { 0 };
        if brotli > 0 && brotli >= gzip && brotli >= self.identity {
            Encoding::Brotli
        } else if gzip > 0 && gzip >= self.identity {
            Encoding::Gzip
        } else {
            Encoding::Identity
        }
    }
}

const FULL: u16 = 1000;

/// `0`, `0.5`, `1.000` in thousandths (RFC 9110 section 12.4.2).
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u16>().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(FULL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_gets_the_best_form_it_reads() {
        use Encoding::{Brotli, Gzip, Identity};
        for (header, expected) in [
            ("", Identity),
            ("gzip, deflate, br, zstd", Brotli),
            ("gzip, deflate", Gzip),
            ("x-gzip", Gzip),
            ("BR", Brotli),
            ("br;q=0.5, gzip;q=0.8", Gzip),
            ("br;q=0.5, gzip;q=0.5", Brotli),
            ("br;q=0, gzip", Gzip),
            ("br;q=0.000,gzip;q=0.0", Identity),
            ("*", Brotli),
            ("*;q=0.1, br;q=0", Gzip),
            ("identity, br;q=0.1", Identity),
            ("identity;q=0.5, br;q=0.5", Brotli),
            ("br ; q=1.000", Brotli),
            ("br;q=2", Identity),
            ("br;q=", Identity),
            ("br;q=0.1234", Identity),
            ("identity;q=0", Identity),
            ("*;q=0", Identity),
            ("deflate", Identity),
            (";;;,,,=", Identity),
        ] {
            assert_eq!(
                Accepted::parse(header).choose(true, true),
                expected,
                "{header:?}"
            );
        }
        assert_eq!(Accepted::PLAIN.choose(true, true), Identity);
    }

    #[test]
    fn only_what_there_is_can_be_chosen() {
        let both = Accepted::parse("br, gzip");
        assert_eq!(both.choose(false, true), Encoding::Gzip);
        assert_eq!(both.choose(false, false), Encoding::Identity);
        assert_eq!(
            Accepted::parse("br").choose(false, true),
            Encoding::Identity
        );
    }
}
