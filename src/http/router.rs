//! Method and path -> what is meant. Pure; whether a file exists is not known here.

mod apprtc;

use hyper::Method;

pub use apprtc::{AppRtcRoute, ColliderRoute, RoomRoute, bare_collider};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The calling page.
    Page,
    /// A file: decoded path without the leading slash.
    Asset(String),
    /// The ICE configuration.
    Ice,
    /// A browser asks whether a page elsewhere may ask for the ICE configuration.
    IcePreflight,
    /// A WebSocket for signaling.
    WebSocket,
    /// The signaling path, without the upgrade.
    UpgradeRequired,
    /// AppRTC's room server, or Collider.
    AppRtc(AppRtcRoute),
    /// A question to PeerServer.
    PeerJs(PeerJsRoute),
    /// Known, but not with this method. Holds the value of `Allow`.
    MethodNotAllowed(&'static str),
    /// A path that names nothing here, whatever the files are.
    NotFound,
}

/// What PeerServer answers besides WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerJsRoute {
    /// Who is there.
    Greeting,
    /// An id that nobody has.
    Id,
    /// Which ids there are, which we keep to ourselves.
    Peers,
}

/// A dialect that has paths of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// PeerJS.
    PeerJs,
    /// y-webrtc.
    Topics,
}

/// Whether the request asks to become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It does.
    WebSocket,
    /// It does not.
    None,
}

/// Longest path that can name anything of ours.
const MAX_PATH: usize = 2048;

/// The configuration endpoint under the names that clients of other services know.
const ICE_PATHS: &[&str] = &[
    "/ice",
    "/v1alpha/iceconfig",
    "/iceconfig",
    "/api/turn",
    "/turn",
];

/// Decides. `path` is as it came, percent-encoded, without the query.
pub fn route(method: &Method, path: &str, upgrade: Upgrade, signaling_path: &str) -> Route {
    if ICE_PATHS.contains(&path) {
        return match *method {
            Method::GET | Method::HEAD | Method::POST => Route::Ice,
            Method::OPTIONS => Route::IcePreflight,
            _ => Route::MethodNotAllowed("GET, HEAD, POST, OPTIONS"),
        };
    }
    // Course clients connect to whatever path their author wrote down: `/`, `/ws`, anything.
    if upgrade == Upgrade::WebSocket && method == Method::GET {
        return Route::WebSocket;
    }
    if let Some(route) = peerjs(path) {
        return match *method {
            Method::GET | Method::HEAD => Route::PeerJs(route),
            _ => Route::MethodNotAllowed("GET, HEAD"),
        };
    }
    if path == signaling_path || world(path).is_some() {
        return match *method {
            Method::GET => Route::UpgradeRequired,
            _ => Route::MethodNotAllowed("GET"),
        };
    }
    if let Some(route) = apprtc::find(path) {
        return match route.refuses(method) {
            None => Route::AppRtc(route),
            Some(allowed) => Route::MethodNotAllowed(allowed),
        };
    }
    let Some(file) = decode(path) else {
        return Route::NotFound;
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Route::MethodNotAllowed("GET, HEAD");
    }
    // The page's own files, where no proxy of the root takes them away.
    if let Some(own) = file.strip_prefix("r/_/").filter(|own| !own.is_empty()) {
        return Route::Asset(own.to_owned());
    }
    match file.strip_prefix("r/") {
        _ if file.is_empty() || file == "index.html" => Route::Page,
        // The room's name is the page's to read; a slash in it came encoded and was refused.
        Some(room) if !room.is_empty() && !room.contains('/') => Route::Page,
        _ => Route::Asset(file),
    }
}

/// Whether a path is ours whatever else is configured: signaling, the ICE configuration, AppRTC's
/// routes, and the rooms with all that their page needs.
pub fn is_reserved(path: &str, signaling_path: &str) -> bool {
    path == signaling_path
        || world(path).is_some()
        || peerjs(path).is_some()
        || ICE_PATHS.contains(&path)
        || path == "/r"
        || path.starts_with("/r/")
        || apprtc::find(path).is_some()
}

/// The dialect that a WebSocket on this path speaks, whatever its first frame is.
pub fn world(path: &str) -> Option<World> {
    match path {
        // The client appends its own name to the path that it is given, `/` or this.
        "/peerjs" | "/peerjs/peerjs" => Some(World::PeerJs),
        "/y" => Some(World::Topics),
        _ => None,
    }
}

/// The second form has the key in it, of which there is but one: what it is makes no difference.
fn peerjs(path: &str) -> Option<PeerJsRoute> {
    let rest = path.strip_prefix("/peerjs")?;
    if rest.is_empty() || rest == "/" {
        return Some(PeerJsRoute::Greeting);
    }
    let rest = rest.strip_prefix('/')?;
    match rest.split_once('/').map_or(rest, |(_, last)| last) {
        "id" => Some(PeerJsRoute::Id),
        "peers" => Some(PeerJsRoute::Peers),
        _ => None,
    }
}

/// Which of `prefixes` a path lies under, the longest if there are several. A prefix is a path
/// without a slash at its end, or the root.
///
/// The path is understood as an application may understand it: after decoding. One with a dot
/// segment in it, however it is written, lies under none: it could lead out of the prefix again.
pub fn longest<'a>(path: &str, prefixes: impl Iterator<Item = &'a str>) -> Option<usize> {
    let decoded = percent_decode(path)?;
    if decoded.first() != Some(&b'/') || decoded.contains(&0) {
        return None;
    }
    let mut segments = decoded.split(|byte| matches!(byte, b'/' | b'\\'));
    if segments.any(|segment| matches!(segment, b"." | b"..")) {
        return None;
    }
    let under = |prefix: &str| {
        let rest = decoded.strip_prefix(prefix.trim_end_matches('/').as_bytes());
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    };
    prefixes
        .enumerate()
        .filter(|(_, prefix)| under(prefix))
        .max_by_key(|(_, prefix)| prefix.len())
        .map(|(index, _)| index)
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}

/// The path of a file below the root: decoded once, without empty, `.` and `..` segments, control
/// characters, backslashes and encoded slashes. A slash at the end stays.
fn decode(path: &str) -> Option<String> {
    if path.len() > MAX_PATH {
        return None;
    }
    let path = path.strip_prefix('/')?;
    // Decoded with the rest, it would make one segment two.
    if path.to_ascii_lowercase().contains("%2f") {
        return None;
    }
    let decoded = String::from_utf8(percent_decode(path)?).ok()?;
    if decoded.chars().any(|c| c.is_control() || c == '\\') {
        return None;
    }
    let inner = decoded.strip_suffix('/').unwrap_or(&decoded);
    let bad = |segment: &str| matches!(segment, "" | "." | "..");
    if !decoded.is_empty() && inner.split('/').any(bad) {
        return None;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Route {
        route(&Method::GET, path, Upgrade::None, "/ws")
    }

    #[test]
    fn paths_lead_to_their_routes() {
        let asset = |path: &str| Route::Asset(path.to_owned());
        for (path, expected) in [
            ("/", Route::Page),
            ("/index.html", Route::Page),
            ("/r/blue-sky", Route::Page),
            ("/r/%E5%AE%A4", Route::Page),
            ("/r/a%20b", Route::Page),
            ("/r/", asset("r/")),
            ("/r/a/b", asset("r/a/b")),
            ("/r/_/app.js", asset("app.js")),
            ("/r/_/js/call.js", asset("js/call.js")),
            ("/r/_/", asset("r/_/")),
            ("/r/_", Route::Page),
            ("/r/_/../ice", Route::NotFound),
            ("/check", asset("check")),
            ("/css/app.css", asset("css/app.css")),
            ("/a%2eb", asset("a.b")),
            ("/docs/", asset("docs/")),
            ("/ice", Route::Ice),
            ("/v1alpha/iceconfig", Route::Ice),
            ("/iceconfig", Route::Ice),
            ("/api/turn", Route::Ice),
            ("/turn", Route::Ice),
            ("/ws", Route::UpgradeRequired),
            ("/y", Route::UpgradeRequired),
            ("/peerjs", Route::PeerJs(PeerJsRoute::Greeting)),
            ("/peerjs/id", Route::PeerJs(PeerJsRoute::Id)),
            ("/peerjs/peerjs/id", Route::PeerJs(PeerJsRoute::Id)),
            ("/peerjs/peerjs/peers", Route::PeerJs(PeerJsRoute::Peers)),
            ("", Route::NotFound),
            ("*", Route::NotFound),
            ("ice", Route::NotFound),
            ("//", Route::NotFound),
            ("//evil.example/x", Route::NotFound),
            ("/a//b", Route::NotFound),
            ("/../etc/passwd", Route::NotFound),
            ("/a/../b", Route::NotFound),
            ("/a/..", Route::NotFound),
            ("/./a", Route::NotFound),
            ("/%2e%2e/etc/passwd", Route::NotFound),
            ("/%2E%2e%2fetc", Route::NotFound),
            ("/a%2fb", Route::NotFound),
            ("/r/a%2Fb", Route::NotFound),
            ("/a%5cb", Route::NotFound),
            ("/a\\..\\b", Route::NotFound),
            ("/a%00b", Route::NotFound),
            ("/a%0d%0ab", Route::NotFound),
            ("/%", Route::NotFound),
            ("/%2", Route::NotFound),
            ("/%zz", Route::NotFound),
            ("/%+1", Route::NotFound),
            ("/%ff", Route::NotFound),
            // Decoded once: what remains is an odd name, not a way up.
            ("/%252e%252e/x", asset("%2e%2e/x")),
        ] {
            assert_eq!(get(path), expected, "{path}");
        }
        assert_eq!(get(&format!("/{}", "a".repeat(MAX_PATH))), Route::NotFound);
    }

    #[test]
    fn our_own_paths_are_nobody_elses() {
        for path in [
            "/sig",
            "/ice",
            "/api/turn",
            "/r",
            "/r/room",
            "/r/_/app.js",
            "/join/room",
            "/message/room/id",
            "/leave/room/id",
            "/bye/room/id",
            "/params",
            "/a/",
            "/collider",
            "/collider/room/id",
            "/y",
            "/peerjs",
            "/peerjs/",
            "/peerjs/peerjs",
            "/peerjs/id",
            "/peerjs/peerjs/id",
            "/peerjs/key/peers",
        ] {
            assert!(is_reserved(path, "/sig"), "{path}");
        }
        for path in [
            "/",
            "/ws",
            "/ice/",
            "/icecream",
            "/room",
            "/api",
            "/sig/x",
            "/join",
            "/a",
            "/a/x",
            "/join/x/y",
            "/message/x",
            "/colliders",
            "/y/x",
            "/yes",
            "/peerjs.js",
            "/peerjs/a/b/id",
            "/peerjs/other",
        ] {
            assert!(!is_reserved(path, "/sig"), "{path}");
        }
    }

    #[test]
    fn the_longest_prefix_takes_the_path() {
        let prefixes = ["/app", "/app/admin", "/a"];
        let find = |path: &str| longest(path, prefixes.into_iter()).map(|index| prefixes[index]);
        for (path, expected) in [
            ("/app", Some("/app")),
            ("/app/", Some("/app")),
            ("/app/x/y", Some("/app")),
            ("/app//x", Some("/app")),
            ("/app/admin", Some("/app/admin")),
            ("/app/admin/x", Some("/app/admin")),
            ("/app/administrator", Some("/app")),
            ("/apple", None),
            ("/a/b", Some("/a")),
            ("/", None),
            ("/App", None),
            // What the application would understand counts.
            ("/%61pp/x", Some("/app")),
            ("/app/%61dmin/x", Some("/app/admin")),
            ("/app%2fadmin", Some("/app/admin")),
            ("/app/x%2Fy", Some("/app")),
            ("/app/...", Some("/app")),
            ("/app/..", None),
            ("/app/../ice", None),
            ("/app/./x", None),
            ("/app/%2e%2e/secret", None),
            ("/app/.%2E/secret", None),
            ("/app/..%2fsecret", None),
            ("/app/..%5csecret", None),
            ("/app/..\\secret", None),
            ("/app/%00", None),
            ("/app/%", None),
            ("/app/%zz", None),
            ("app", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn the_root_takes_what_no_longer_prefix_takes() {
        let prefixes = ["/", "/app"];
        let find = |path: &str| longest(path, prefixes.into_iter());
        assert_eq!(find("/"), Some(0));
        assert_eq!(find("/x"), Some(0));
        assert_eq!(find("//x"), Some(0));
        assert_eq!(find("/app/x"), Some(1));
        assert_eq!(find("/x/../y"), None);
        assert_eq!(longest("/x", [].into_iter()), None);
    }

    #[test]
    fn methods_that_make_no_sense_are_told_which_do() {
        let with = |method: Method, path: &str| route(&method, path, Upgrade::None, "/ws");
        let pages = Route::MethodNotAllowed("GET, HEAD");
        assert_eq!(with(Method::HEAD, "/"), Route::Page);
        assert_eq!(with(Method::POST, "/"), pages);
        assert_eq!(with(Method::DELETE, "/css/app.css"), pages);
        assert_eq!(with(Method::POST, "/ice"), Route::Ice);
        assert_eq!(with(Method::HEAD, "/ice"), Route::Ice);
        assert_eq!(with(Method::OPTIONS, "/ice"), Route::IcePreflight);
        assert_eq!(
            with(Method::PUT, "/ice"),
            Route::MethodNotAllowed("GET, HEAD, POST, OPTIONS")
        );
        assert_eq!(with(Method::POST, "/ws"), Route::MethodNotAllowed("GET"));
    }

    #[test]
    fn an_upgrade_is_signaling_wherever_it_is_asked_for() {
        let upgrade = |method: Method, path: &str| route(&method, path, Upgrade::WebSocket, "/sig");
        for path in [
            "/",
            "/sig",
            "/ws",
            "/anything/else",
            "/r/room",
            "//",
            "/../x",
        ] {
            assert_eq!(upgrade(Method::GET, path), Route::WebSocket, "{path}");
        }
        assert_eq!(upgrade(Method::GET, "/ice"), Route::Ice);
        assert_ne!(upgrade(Method::POST, "/sig"), Route::WebSocket);
        assert_eq!(
            route(&Method::GET, "/sig", Upgrade::None, "/sig"),
            Route::UpgradeRequired
        );
    }
}
