//! A resolv.conf that not even root can write, and a disk that has no room for its backup.

use std::{fs, path::Path};

use qdt_host::{Dns as _, DnsPaths, DnsPlan, HostDns};

use crate::namespace::{Namespace, mount, private_mounts};

const ORIGINAL: &str = "nameserver 192.168.1.1\n";

/// Name servers whose files are all in `folder`; no service runs.
fn dns_in(folder: &Path) -> HostDns {
    HostDns::at(DnsPaths {
        resolv_conf: folder.join("resolv.conf"),
        backup: folder.join("backup"),
        nsswitch: folder.join("nsswitch.conf"),
        upstreams: Vec::new(),
        resolved_socket: folder.join("resolved"),
        programs: folder.into(),
    })
}

fn plan() -> DnsPlan {
    DnsPlan {
        tun: "lo".to_owned(),
        servers: vec!["10.8.0.1".parse().expect("an address")],
    }
}

#[test]
fn a_resolv_conf_on_a_read_only_mount_is_one_error_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("resolv.conf");
    fs::write(&path, ORIGINAL).expect("a file");
    let dns = dns_in(folder.path());
    let plan = plan();
    let file = path.to_string_lossy().into_owned();
    let (installed, removed) = Namespace::new().block_on(|| async {
        private_mounts();
        mount(&["--bind", &file, &file]);
        mount(&["-o", "remount,bind,ro", &file]);
        (dns.install(&plan).await, dns.remove("lo").await)
    });
    let error = installed.expect_err("it cannot be written").to_string();
    for part in [file.as_str(), "Read-only file system", "chattr -i"] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    removed.expect("there is nothing to give back, and nothing more to say");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), ORIGINAL);
    let left = fs::read_dir(folder.path()).expect("a directory").count();
    assert_eq!(left, 1, "only the file itself");
}

#[test]
fn a_full_disk_leaves_resolv_conf_as_it_was_and_no_half_backup() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("resolv.conf");
    let disk = folder.path().to_string_lossy().into_owned();
    let (error, file, files) = Namespace::new().block_on(|| async {
        private_mounts();
        // The file fills the first of two pages; its backup is longer than the other.
        let original = format!("{ORIGINAL}#{}\n", "-".repeat(4096 - ORIGINAL.len() - 2));
        mount(&["-t", "tmpfs", "-o", "size=8k", "none", &disk]);
        fs::write(&path, original).expect("there is room for it");
        let installed = dns_in(folder.path()).install(&plan()).await;
        let files = fs::read_dir(folder.path()).expect("a directory");
        let names = files.map(|file| file.expect("an entry").file_name());
        (
            installed.expect_err("the disk is full").to_string(),
            fs::read_to_string(&path).expect("it is there"),
            names.collect::<Vec<_>>(),
        )
    });
    assert!(error.contains("No space left on device"), "{error}");
    assert!(file.starts_with(ORIGINAL) && file.len() == 4096, "{file}");
    assert_eq!(files, ["resolv.conf"]);
}
