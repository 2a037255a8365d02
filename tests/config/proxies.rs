//! Applications behind the same port.

use std::fs;
use std::path::Path;

use crate::harness::{bad, certificate, directory, good};

#[test]
fn a_proxy_that_cannot_work_is_an_error_with_its_line() {
    let said = bad(
        "[[proxy]]\npath = 'app'\nupstream = '127.0.0.1:3000'\n\
         [[proxy]]\npath = '/b'\nupstream = 'https://b'\n\
         [[proxy]]\npth = '/c'\nupstream = 'http://c/base'\nread_timeout = 5\n",
        &[],
    );
    let expected = [
        "appliance.toml:2: proxy[0].path: a path begins with a slash: write \"/app\"",
        "appliance.toml:3: proxy[0].upstream: the scheme is missing: write \"http://127.0.0.1:3000\"",
        "appliance.toml:6: proxy[1].upstream: https to an application is not supported: it is expected on this machine or on a private network, by \"http://\" or \"unix:\"",
        "appliance.toml:7: proxy[2]: path is missing",
        "appliance.toml:8: proxy[2].pth: unknown key, did you mean \"path\"?",
        "appliance.toml:9: proxy[2].upstream: a host and a port only: the application is asked for the path that the visitor named, found \"http://c/base\"",
        "appliance.toml:10: proxy[2].read_timeout: expected a duration such as \"20s\", \"500ms\" or \"1h30m\", found the number 5",
    ];
    assert_eq!(said, expected);
    assert_eq!(
        bad(
            "[[proxy]]\npath = '/a'\nupstream = 'http://a'\n\
             [[proxy]]\npath = '/a/'\nupstream = 'http://b'\n",
            &[]
        ),
        ["appliance.toml:5: proxy[1].path: \"/a\" has a proxy already"]
    );
}

#[test]
fn the_five_lines_of_a_tutorials_site_are_five_and_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrate.md");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.split("```toml\n").nth(1).unwrap();
    let lines = lines.split("```").next().unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    let files = directory();
    certificate(&files);
    let here = files.display().to_string();
    let lines = lines
        .replace("/usr/local/nginx/conf/cert", &here)
        .replace("/usr/local/nginx/client", &here);
    let output = good(&lines, &[]);
    assert!(
        output.contains("the certificate from cert and key"),
        "{output}"
    );
    // Whether the machine has a public address is not this file's doing.
    let warned = output
        .lines()
        .any(|line| line.starts_with("# warning: ") && !line.contains("external_ip"));
    assert!(!warned, "{output}");
}

#[test]
fn a_proxy_takes_nothing_of_ours_and_does_not_lead_back_to_us() {
    for (path, upstream, what) in [
        (
            "/ws",
            "http://app:1",
            "path \"/ws\" is answered by callbox itself",
        ),
        ("/ice", "http://app:1", "path \"/ice\" is answered"),
        ("/r", "http://app:1", "path \"/r\" is answered"),
        ("/r/x", "http://app:1", "path \"/r/x\" is answered"),
        ("/a", "http://127.0.0.1:443", "callbox itself (front.https)"),
        ("/a", "http://localhost", "callbox itself (front.http)"),
        ("/a", "http://[::1]:3478", "callbox itself (turn.listen)"),
        (
            "/a",
            "http://call.example.com:80",
            "callbox itself (front.http)",
        ),
    ] {
        let said = bad(
            &format!(
                "host = ['call.example.com']\n[[proxy]]\npath = '{path}'\nupstream = '{upstream}'\n"
            ),
            &[],
        );
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("appliance.toml:2: proxy: "), "{said:?}");
        assert!(said[0].contains(what), "{said:?}");
    }
    let good = good(
        "[[proxy]]\npath = '/'\nupstream = 'http://127.0.0.1:3000'\n\
         [[proxy]]\npath = '/api/'\nupstream = 'unix:/run/api.sock'\n[web]\ndir = '/'\n",
        &[],
    );
    assert!(good.contains("upstream = \"unix:/run/api.sock\""), "{good}");
    assert!(
        good.contains("# warning: web.dir: shows below /r/ only"),
        "{good}"
    );
}
