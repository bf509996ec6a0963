/* The ops that only the Linux program has: what a hostile program does to the kernel it runs on.
 *
 * Those that try to change, fill or end something are guarded: they run as a tool in a sandbox or
 * not at all (see must_be_sandboxed), and are bounded in count and time all the same. */

#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <mntent.h>
#include <mqueue.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "common.c"

#include "processes.c"

#include "kernel.c"

#include "posture.c"

#include "host_files.c"

#include "rights.c"

#include "output_files.c"

#include "network.c"

static const struct {
    const char *name;
    void (*run)(void);
    bool guarded;
} NATIVE_OPS[] = {
    {"fork_bomb", op_fork_bomb, true},
    {"zombies", op_zombies, true},
    {"spin_threads", op_spin_threads, true},
    {"daemonise", op_daemonise, true},
    {"hold_pipe", op_hold_pipe, true},
    {"ignore_signals", op_ignore_signals, true},
    {"signal_self", op_signal_self, false},
    {"oom_child", op_oom_child, true},
    {"close_streams", op_close_streams, false},
    {"partial_json", op_partial_json, false},
    {"stdin_partial", op_stdin_partial, false},
    {"rlimit_raise", op_rlimit_raise, true},
    {"use_up", op_use_up, true},
    {"priority", op_priority, true},
    {"kernel_calls", op_kernel_calls, true},
    {"userns", op_userns, true},
    {"keyring", op_keyring, true},
    {"peers", op_peers, true},
    {"posture", op_posture, false},
    {"cwd", op_cwd, false},
    {"hostname", op_hostname, false},
    {"uid", op_uid, false},
    {"umask_files", op_umask_files, false},
    {"runtime_exe", op_runtime_exe, true},
    {"proc_writes", op_proc_writes, true},
    {"masked", op_masked, false},
    {"cgroup_escape", op_cgroup_escape, true},
    {"devices", op_devices, true},
    {"copy_self", op_copy_self, true},
    {"tmp_exec", op_tmp_exec, true},
    {"setuid", op_setuid, true},
    {"set_id", op_set_id, true},
    {"output_fifo", op_output_fifo, true},
    {"output_hardlink", op_output_hardlink, true},
    {"output_sparse", op_output_sparse, true},
    {"output_device", op_output_device, true},
    {"output_socket", op_output_socket, true},
    {"output_replace_dir", op_output_replace_dir, true},
    {"output_flip", op_output_flip, true},
    {"fill_disk", op_fill_disk, true},
    {"fill_inodes", op_fill_inodes, true},
    {"network", op_network, true},
};

/* Runs the op, or returns when it is none of ours. */
static void run_native(const char *name) {
    for (size_t i = 0; i < sizeof NATIVE_OPS / sizeof *NATIVE_OPS; i++) {
        if (strcmp(NATIVE_OPS[i].name, name) != 0) continue;
        if (NATIVE_OPS[i].guarded) must_be_sandboxed(name);
        alarm(LIFETIME_SECONDS);
        NATIVE_OPS[i].run();
        flush();
        _exit(0);
    }
}
