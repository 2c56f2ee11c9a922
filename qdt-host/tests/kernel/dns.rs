//! A resolv.conf that not even root can write.

use std::fs;

use qdt_host::{Dns as _, DnsPaths, DnsPlan, HostDns};

use crate::namespace::{Namespace, mount, private_mounts};

const ORIGINAL: &str = "nameserver 192.168.1.1\n";

#[test]
fn a_resolv_conf_on_a_read_only_mount_is_one_error_at_once_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("resolv.conf");
    fs::write(&path, ORIGINAL).expect("a file");
    let dns = HostDns::at(DnsPaths {
        resolv_conf: path.clone(),
        backup: folder.path().join("backup"),
        nsswitch: folder.path().join("nsswitch.conf"),
        upstreams: Vec::new(),
        resolved_socket: folder.path().join("resolved"),
        programs: folder.path().into(),
    });
    let plan = DnsPlan {
        tun: "lo".to_owned(),
        servers: vec!["10.8.0.1".parse().expect("an address")],
    };
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
