//! Compresses the pages in `web/` once, at build time, and writes the table that
//! `src/assets.rs` serves from. Start-up has nothing left to do.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

#[path = "src/assets/types.rs"]
mod types;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/assets/types.rs");
    println!("cargo:rerun-if-changed=web");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root = Path::new("web");
    let mut files = Vec::new();
    collect(root, &mut files);
    // `assets.rs` looks paths up by binary search.
    files.sort();

    let mut table = String::from("&[\n");
    for (index, file) in files.iter().enumerate() {
        let path = file
            .strip_prefix(root)
            .expect("collected below the root")
            .to_str()
            .expect("names in web/ are UTF-8");
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let tag = tag(&bytes);
        let gzip = smaller(gzip(&bytes), &bytes);
        let brotli = smaller(brotli(&bytes), &bytes);
        let variant = |suffix: &str, content: Option<Vec<u8>>| match content {
            None => "None".to_owned(),
            Some(content) => {
                let name = format!("{index}.{suffix}");
                fs::write(out.join(&name), content).expect("OUT_DIR is writable");
                format!(
                    "Some(Variant {{ bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")), etag: {:?} }})",
                    format!("\"{tag}-{suffix}\"")
                )
            }
        };
        let (gzip, brotli) = (variant("gz", gzip), variant("br", brotli));
        let name = format!("{index}.id");
        fs::write(out.join(&name), &bytes).expect("OUT_DIR is writable");
        writeln!(
            table,
            "Embedded {{ path: {path:?}, content_type: {:?}, identity: Variant {{ bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")), etag: {:?} }}, gzip: {gzip}, brotli: {brotli} }},",
            types::content_type(path),
            format!("\"{tag}\""),
        )
        .expect("a String takes everything");
    }
    table.push(']');
    fs::write(out.join("assets.rs"), table).expect("OUT_DIR is writable");
}

/// Every regular file below `directory`, hidden ones and links left out.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    // A package without pages is a valid one: it serves a directory, or nothing.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden => collect(&entry.path(), files),
            Ok(kind) if kind.is_file() && !hidden => files.push(entry.path()),
            _ => {}
        }
    }
}

/// Content hash for the entity tag (FNV-1a, 128 bits). It tells versions of our own files apart;
/// nobody else chooses the input.
fn tag(bytes: &[u8]) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in bytes {
        hash ^= u128::from(*byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{:016x}", (hash >> 64) as u64 ^ hash as u64)
}

/// The compressed form, if it saves enough to be worth a browser's time: images do not.
fn smaller(compressed: Vec<u8>, plain: &[u8]) -> Option<Vec<u8>> {
    (compressed.len() + 32 < plain.len()).then_some(compressed)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes everything")
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams {
        size_hint: bytes.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &parameters)
        .expect("a Vec takes everything");
    compressed
}
