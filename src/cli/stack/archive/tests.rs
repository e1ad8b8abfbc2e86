use std::{cell::RefCell, rc::Rc};

use super::*;

/// A volume as the engine packs it: its own folder first, then what is in it.
fn volume() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut entry = |kind, path: &str, mode, uid, data: &[u8], link: &str| {
        let mut header = header(kind, mode, data.len() as u64);
        header.set_uid(uid);
        header.set_gid(uid);
        header.set_mtime(1_790_000_000);
        match link {
            "" => tar.append_data(&mut header, path, data).expect("an entry"),
            link => tar.append_link(&mut header, path, link).expect("a link"),
        }
    };
    let long = format!("prometheus/{}/chunk", "deep/".repeat(40));
    entry(EntryType::Directory, "prometheus/", 0o2750, 65534, b"", "");
    entry(EntryType::Regular, "prometheus/wal", 0o640, 65534, &[7; 100_000], "");
    entry(EntryType::Regular, &long, 0o644, 65534, b"deep", "");
    entry(EntryType::Symlink, "prometheus/latest", 0o777, 0, b"", "wal");
    entry(EntryType::Link, "prometheus/hard", 0o640, 65534, b"", "prometheus/wal");
    tar.into_inner().expect("a tar")
}

fn backup() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "2026-11-21T00:00:00Z".to_owned());
    writer.setting(Path::new(".env"), 0o600, b"GRAFANA_ADMIN_PASSWORD=x\n").expect("a setting");
    writer.setting(Path::new("loki/config.yaml"), 0o644, b"auth_enabled: false\n").expect("a setting");
    writer.volume("prometheus", "sandboxctl-stack_prometheus", volume().as_slice()).expect("a volume");
    writer
        .volume(
            "empty",
            "sandboxctl-stack_empty",
            tar::Builder::new(Vec::new()).into_inner().expect("tar").as_slice(),
        )
        .expect("a volume");
    writer.finish().expect("whole")
}

/// A tar that outlives the function which fills it.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_put_in_comes_out() {
    let archive = backup();
    let manifest = verify(archive.as_slice()).expect("whole");
    assert_eq!(manifest.volumes["prometheus"], "sandboxctl-stack_prometheus");
    assert_eq!(manifest.volumes.len(), 2);
    assert_eq!(manifest.bytes(), 25 + 20 + 100_000 + 4);

    let mut found = Vec::new();
    settings(archive.as_slice(), |name, mode, data| {
        found.push((name.to_owned(), mode, data.len()));
        Ok(())
    })
    .expect("settings");
    assert_eq!(found, [(".env".into(), 0o600, 25), ("loki/config.yaml".into(), 0o644, 20)]);

    let (mut names, tar) = (Vec::new(), Shared::default());
    volumes(archive.as_slice(), |name| {
        names.push(name.to_owned());
        Ok(tar.clone())
    })
    .expect("volumes");
    assert_eq!(names, ["prometheus"], "an empty volume needs nothing");
    let bytes = tar.0.borrow().clone();
    let mut shown = Vec::new();
    for entry in tar::Archive::new(bytes.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut data = Vec::new();
        entry.read_to_end(&mut data).expect("its content");
        let header = entry.header();
        let link = entry.link_name().expect("a name").map(|l| l.display().to_string());
        let path = entry.path().expect("a path").display().to_string();
        assert_eq!(
            header.mtime().expect("a time"),
            if link.is_some() || !path.is_empty() { 1_790_000_000 } else { 0 }
        );
        shown.push((path, header.mode().expect("a mode"), header.uid().expect("an owner"), data.len(), link));
    }
    let long = format!("{}chunk", "deep/".repeat(40));
    let link = |to: &str| Some(to.to_owned());
    assert_eq!(
        shown,
        [
            ("./".to_owned(), 0o2750, 65534, 0, None),
            ("wal".to_owned(), 0o640, 65534, 100_000, None),
            (long, 0o644, 65534, 4, None),
            ("latest".to_owned(), 0o777, 0, 0, link("wal")),
            ("hard".to_owned(), 0o640, 65534, 0, link("wal")),
        ]
    );
}

#[test]
fn an_archive_that_is_cut_is_refused_wherever_it_is_cut() {
    let archive = backup();
    for end in (0..archive.len()).step_by(37).chain([archive.len() - 1, archive.len() - 8]) {
        assert!(verify(&archive[..end]).is_err(), "cut at {end} of {}", archive.len());
    }
}

#[test]
fn a_byte_that_turned_is_found() {
    let unpacked = |archive: &[u8]| {
        let mut bytes = Vec::new();
        GzDecoder::new(archive).read_to_end(&mut bytes).map(|_| bytes).ok()
    };
    let archive = backup();
    let whole = unpacked(&archive);
    // The header of gzip holds times and names, which say nothing of the content.
    for at in (10..archive.len()).step_by(29) {
        let mut damaged = archive.clone();
        damaged[at] ^= 0x10;
        // Some bits of deflate are there to fill a byte.
        assert!(verify(damaged.as_slice()).is_err() || unpacked(&damaged) == whole, "byte {at}");
    }
}

#[test]
fn what_is_no_backup_is_told_apart() {
    let gz = |entries: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, data) in entries {
            let mut header = header(EntryType::Regular, 0o644, data.len() as u64);
            // Not by the library's checks, which would refuse the worst of them.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, *data).expect("an entry");
        }
        tar.into_inner().and_then(GzEncoder::finish).expect("gzip")
    };
    assert!(matches!(verify(&b"no archive at all"[..]), Err(ArchiveError::Foreign)));
    assert!(matches!(verify(&b""[..]), Err(ArchiveError::Foreign)));
    for path in
        ["sandbox-session-x/manifest.json", "sandboxctl-stack/settings/../../etc/passwd", "/etc/passwd"]
    {
        let found = verify(gz(&[(path, b"x")]).as_slice());
        assert!(matches!(found, Err(ArchiveError::Foreign)), "{path}: {found:?}");
    }
    let newer = br#"{"format":2,"version":"9.0.0","anything":[]}"#;
    let found = verify(gz(&[("sandboxctl-stack/manifest.json", newer)]).as_slice());
    assert!(matches!(&found, Err(ArchiveError::Newer(version)) if version == "9.0.0"), "{found:?}");
    let old = br#"{"format":1,"version":"0","made_at":"","volumes":{},"files":{}}"#;
    let added: [(&str, &[u8]); 2] =
        [("sandboxctl-stack/settings/.env", b"x"), ("sandboxctl-stack/manifest.json", old)];
    assert!(
        matches!(verify(gz(&added).as_slice()), Err(ArchiveError::Damaged(_))),
        "a file that nobody listed"
    );
}
