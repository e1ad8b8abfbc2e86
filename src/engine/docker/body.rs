//! What a container is made of.
//!
//! It is hardened by what stands in [`body`]: no network, a read-only root, all capabilities dropped but the three
//! that the guest needs to hand things to the session's user (`CHOWN`, `SETUID`, `SETGID`), no new privileges, the
//! engine's default seccomp profile, limits on processors, memory, processes and open files, small file systems in
//! memory for what must be writable, and no log driver (it would keep a second, unmasked copy of the terminal).

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::{
    etc::{Etc, HOSTNAME},
    home, workspace,
};
use crate::{
    engine::{FOLDER, GUEST, HOME, SETTINGS, Unit, WORKSPACE, labels},
    id::InstanceId,
    spec::is_gvisor,
};

/// Everything that makes a container a sandbox. `guest` and `etc` are on the engine's host.
pub(super) fn body(unit: &Unit, instance: InstanceId, guest: &str, etc: &Etc) -> ContainerCreateBody {
    let limits = &unit.limits;
    let memory = signed(limits.memory.as_u64());
    let mut binds = vec![
        format!("{guest}:{GUEST}:ro"),
        format!("{}:{FOLDER}", unit.folder.display()),
        format!("{}:{HOME}", home(&unit.volume)),
        format!("{}:{WORKSPACE}", workspace(&unit.volume)),
    ];
    // The mode `none` sets up a network and then nothing in it, which is half of a start. Without one there is
    // still `lo` from runc, and the files that the mode would write are ours. gVisor needs the mode for its `lo`.
    let bare = unit.runtime.as_deref().is_none_or(|runtime| runtime == "runc");
    if bare {
        binds.extend(etc.binds());
    }
    let tmpfs = HashMap::from([
        ("/tmp".to_owned(), format!("rw,nosuid,nodev,exec,mode=1777,size={}", limits.tmp.as_u64())),
        ("/var/tmp".to_owned(), format!("rw,nosuid,nodev,mode=1777,size={}", limits.tmp.as_u64())),
        ("/run".to_owned(), "rw,nosuid,nodev,noexec,mode=755,size=4m".to_owned()),
        (SETTINGS.to_owned(), "rw,nosuid,nodev,noexec,mode=755,size=4m".to_owned()),
    ]);
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        // Else the host's name servers and domains are shown to whoever reads /etc/resolv.conf.
        dns: Some(vec!["127.0.0.1".to_owned()]),
        dns_search: Some(vec![".".to_owned()]),
        extra_hosts: Some(vec![format!("{HOSTNAME}:127.0.0.1")]),
        readonly_rootfs: Some(!unit.sudo),
        // Root has no use for raw sockets without a network, nor for devices.
        cap_drop: Some(if unit.sudo {
            ["NET_RAW", "MKNOD"].map(str::to_owned).to_vec()
        } else {
            vec!["ALL".to_owned()]
        }),
        cap_add: (!unit.sudo).then(|| ["CHOWN", "SETUID", "SETGID"].map(str::to_owned).to_vec()),
        security_opt: (!unit.sudo).then(|| vec!["no-new-privileges".to_owned()]),
        nano_cpus: Some((limits.cpus * 1e9) as i64),
        memory: Some(memory),
        memory_swap: Some(memory),
        pids_limit: Some(tasks(unit)),
        // A core dump would be a copy of the program's secrets on the session's own disk. (Open files are
        // limited by the guest: the engine may not be able to set more than it has itself.)
        ulimits: Some(vec![ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }]),
        binds: Some(binds),
        tmpfs: Some(tmpfs),
        shm_size: Some(signed(64 << 20)),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        runtime: unit.runtime.clone(),
        init: Some(false),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(unit.image.clone()),
        hostname: Some(HOSTNAME.to_owned()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        entrypoint: Some(vec![GUEST.to_owned()]),
        cmd: Some(vec!["init".to_owned()]),
        env: Some(vec![format!("SANDBOX_DIR={FOLDER}")]),
        labels: Some(labels(instance, unit.session, unit.generation).into_iter().collect()),
        network_disabled: Some(bare),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// How many tasks of the host a container may have. Inside gVisor the guest holds the session to its limit,
/// since a program's processes are not the host's: gVisor runs each on a stub with a thread a processor and
/// two more, and dies itself where it can have none. So the host's limit is the wall behind the limit.
fn tasks(unit: &Unit) -> i64 {
    /// Most that gVisor itself was seen to need is a fifth of this.
    const OWN: i64 = 256;
    if !is_gvisor(unit.runtime.as_deref()) {
        return unit.limits.pids;
    }
    let threads = 2 + unit.limits.cpus.ceil().max(2.0) as i64;
    unit.limits.pids.saturating_mul(threads).saturating_add(OWN)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
