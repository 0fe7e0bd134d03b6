//! Where a ledger may lie: not on a file system on which SQLite's locks can't be trusted, and not under a second name.
//!
//! The kernel tells the kind of a file system by a magic number (`statfs(2)`). All of FUSE has one, whether it shows a
//! local disk or another machine's, so that there the name decides under which it is mounted (`fuse.sshfs`). A name that
//! is not in the list is taken for a local one: encrypted folders and union mounts are FUSE, too.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{LedgerError, LedgerFile};

const FUSE: u32 = 0x6573_5546;

/// By magic number.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 15] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564C, "ncp"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x0102_1997, "9p"),
    (0x4750_4653, "gpfs"),
    (0x2003_0528, "orangefs"),
    (0x1983_0326, "beegfs"),
    (0xBACB_ACBC, "vmhgfs"),
];

/// Kinds of FUSE that show what another machine keeps.
const NETWORK_FUSE: [&str; 24] = [
    "sshfs",
    "s3fs",
    "mountpoint-s3",
    "goofys",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "rclone",
    "glusterfs",
    "ceph",
    "ceph-fuse",
    "cephfs",
    "juicefs",
    "seaweedfs",
    "mfs",
    "lizardfs",
    "davfs",
    "davfs2",
    "curlftpfs",
    "smbnetfs",
    "gvfsd-fuse",
    "google-drive-ocamlfuse",
    "vmhgfs-fuse",
    "grpcfuse",
];

/// The kind, if it is a network file system; `mounted_as` is asked of FUSE alone.
fn network_kind(magic: u32, mounted_as: impl FnOnce() -> Option<String>) -> Option<String> {
    if magic == FUSE {
        let name = mounted_as()?;
        let kind = name.strip_prefix("fuse.").unwrap_or(&name);
        return NETWORK_FUSE.contains(&kind).then(|| name.clone());
    }
    NETWORK_FILE_SYSTEMS.iter().find(|(known, _)| *known == magic).map(|(_, kind)| (*kind).to_owned())
}

/// The kind under which a device is mounted, out of /proc/self/mountinfo (`proc_pid_mountinfo(5)`).
fn kind_in(mountinfo: &str, (major, minor): (u32, u32)) -> Option<String> {
    let device = format!("{major}:{minor}");
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        (mount.split(' ').nth(2)? == device).then(|| kind.split(' ').next().unwrap_or_default().to_owned())
    })
}

fn mounted_as(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev();
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    kind_in(&mountinfo, (rustix::fs::major(device), rustix::fs::minor(device)))
}

/// Refuses a ledger on a network file system, unless that is allowed.
pub(super) fn refuse_network_file_system(location: &LedgerFile) -> Result<(), LedgerError> {
    judge(location, || {
        let place = standing(&location.path);
        let magic = rustix::fs::statfs(&place).ok()?.f_type as u32;
        network_kind(magic, || mounted_as(&place))
    })
}

fn judge(location: &LedgerFile, network_kind: impl FnOnce() -> Option<String>) -> Result<(), LedgerError> {
    if location.allow_network_fs {
        return Ok(());
    }
    match network_kind() {
        None => Ok(()),
        Some(kind) => Err(LedgerError::NetworkFileSystem { path: location.path.display().to_string(), kind }),
    }
}

/// The path without symbolic links: SQLite keeps its log beside the file itself, and so does this program its locks.
pub(super) fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The path, or the nearest folder above it that is there.
pub(super) fn standing(path: &Path) -> PathBuf {
    let there = resolve(path).ancestors().find(|place| place.exists()).map(Path::to_owned);
    there.filter(|place| !place.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        40 22 0:51 / /mnt/far rw,nosuid shared:7 master:2 - fuse.sshfs ann@host:/srv rw,user_id=0\n\
        41 22 0:52 / /mnt/safe rw - fuse.gocryptfs /home/ann/safe rw\n\
        42 22 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw\n";

    #[test]
    fn promise_6_network_file_systems_are_known_by_their_number() {
        let kind = |magic| network_kind(magic, || panic!("only FUSE has to be asked for its name"));
        for (magic, name) in
            [(0x6969, "nfs"), (0xFF53_4D42, "cifs"), (0xFE53_4D42, "smb2"), (0x0102_1997, "9p"), (0x00C3_6400, "ceph")]
        {
            assert_eq!(kind(magic).as_deref(), Some(name));
        }
        // ext4, xfs, btrfs, tmpfs, overlayfs, zfs, f2fs, ecryptfs, and APFS's neighbour in number.
        for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1, 0xF2F5_2010, 0xF15F, 0] {
            assert_eq!(kind(magic), None, "{magic:x}");
        }
    }

    #[test]
    fn promise_6_of_fuse_the_kinds_that_lead_to_another_machine_are_refused() {
        let kind = |device| network_kind(FUSE, || kind_in(MOUNTS, device));
        assert_eq!(kind((0, 51)).as_deref(), Some("fuse.sshfs"));
        for local in [(0, 52), (8, 17)] {
            assert_eq!(kind(local), None, "{local:?}");
        }
        assert_eq!(kind((0, 99)), None, "what is not listed can't be known");
        assert_eq!(kind_in("nonsense\n - \na b 0:51\n", (0, 51)), None);
    }

    #[test]
    fn promise_6_a_local_folder_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let location = LedgerFile { path: folder.path().join("ledger.db"), allow_network_fs: false };
        refuse_network_file_system(&location).unwrap();
    }

    #[test]
    fn promise_6_a_network_file_system_is_refused_by_name_unless_it_is_allowed() {
        let location = LedgerFile { path: "far/ledger.db".into(), allow_network_fs: false };
        let refused = judge(&location, || Some("nfs".to_owned())).unwrap_err();
        assert_eq!(refused.to_string(), "the ledger far/ledger.db is on a network file system (nfs)");
        assert!(refused.help().contains("--allow-network-fs"));
        judge(&LedgerFile { allow_network_fs: true, ..location }, || Some("nfs".to_owned())).unwrap();
    }
}
