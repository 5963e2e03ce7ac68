package sandbox

import (
	"strings"
	"testing"
	"time"
)

// hostile is one program of the battery. What must not have happened outside is checked after each by the arena (see arena_test.go): its
// secret unread and unchanged, its listeners unheard, its processes alive, nothing written, nothing left. These are the checks of one.
type hostile struct {
	name   string
	source string // python; "sh:" first: sh
	Limits
	check  func(t *testing.T, o Outcome)
	freely bool // held by limits alone, even unconfined
}

// Where the arena's things are, for the programs: the variables are set by the arena.
const prelude = `import os, sys, time, signal, socket, ctypes, resource, json
SECRET, HOME, RUN = os.environ["A_SECRET"], os.environ["A_HOME"], os.environ["A_RUN"]
VICTIM, TEST, TCP, UDP = (int(os.environ[k]) for k in ("A_VICTIM", "A_TEST", "A_TCP", "A_UDP"))
libc = ctypes.CDLL(None, use_errno=True)
def attempt(f, *a):
    try:
        r = f(*a)
    except BaseException as e:
        return "refused %s" % type(e).__name__
    print("DID", getattr(f, "__name__", f), a, r, flush=True)
    return r
def call(*a):
    r = libc.syscall(*a)
    if r >= 0: print("DID syscall", a, r, flush=True)
    return r
def read(p):
    with open(p, "rb") as f: return f.read(4096)
def write(p):
    with open(p, "ab") as f: f.write(b"defaced")
`

func ended(why string) func(*testing.T, Outcome) {
	return func(t *testing.T, o Outcome) {
		if !strings.Contains(o.Why, why) {
			t.Errorf("the sandbox did not end it for %q: %q, exit %d, signal %d", why, o.Why, o.ExitCode, o.Signal)
		}
	}
}

// quiet is for programs that report whatever they managed to do.
func quiet(t *testing.T, o Outcome) {
	if strings.Contains(string(o.Stdout), "DID") {
		t.Errorf("it did:\n%s", o.Stdout)
	}
	finished(t, o)
}

func finished(t *testing.T, o Outcome) {
	// Where bombs of the same user run beside it and only limits for all of a user hold, it may have found no room: doc.go says so.
	if o.Layers&(Namespaces|OwnUser|CgroupTasks) == 0 && strings.Contains(string(o.Stderr), "BlockingIOError") {
		return
	}
	if !strings.Contains(string(o.Stdout), "END") {
		t.Errorf("it did not come to its end: %q, exit %d, signal %d\n%s%s", o.Why, o.ExitCode, o.Signal, o.Stdout, o.Stderr)
	}
}

// Those that end by themselves have time to, on a busy machine; those that hang have little.
var (
	short = Limits{Wall: 5 * time.Second, Memory: 256 << 20, Disk: 16 << 20, Processes: 24}
	hang  = Limits{Wall: 1500 * time.Millisecond, CPU: 600 * time.Millisecond, Memory: 256 << 20, Disk: 16 << 20, Processes: 24}
)

func any1(*testing.T, Outcome) {}

var battery = []hostile{
	{"fork bomb", `while True:
    try: os.fork()
    except OSError: pass`, hang, any1, false},
	{"fork bomb of sh", `sh:f(){ f|f& };f; while :; do :; done`, hang, any1, false},
	{"fork bomb of daemons", `while True:
    try:
        if os.fork() == 0:
            try: os.setsid()
            except OSError: pass
    except OSError: pass`, hang, any1, false},
	{"thread bomb", `import threading
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: pass`, hang, any1, false},
	{"exhausts process numbers", `pids = []
while True:
    try:
        p = os.fork()
        if p == 0: time.sleep(1000)
        pids.append(p)
    except OSError: pass`, hang, any1, false},
	{"daemon outlives", `def session():
    try: os.setsid()
    except OSError: pass
if os.fork() == 0:
    session()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        time.sleep(1000)
    os._exit(0)
time.sleep(0.1); print("END")`, short, finished, true},
	{"grandchild holds the pipe", `if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    if os.fork() == 0: time.sleep(1000)
    os._exit(0)
print("END", flush=True); os.close(1); os.close(2); os._exit(0)`, short, finished, true},
	{"allocates 10 GB at once", `try: x = bytearray(10 << 30)
except MemoryError: print("END")`, short, finished, true},
	{"allocates 10 GB slowly", `x = []
while len(x) < 640: x.append(b"x" * (16 << 20))
print("DID")`, short, func(t *testing.T, o Outcome) {
		if strings.Contains(string(o.Stdout), "DID") || o.ExitCode == 0 {
			t.Errorf("it got its memory: %+v", o)
		}
	}, true},
	{"many processes of 200 MB", `for i in range(10):
    if os.fork() == 0: break
x = b"x" * (200 << 20); time.sleep(1000)`, short, ended("memory"), true},
	{"endless loop", `while True: pass`, hang, timedOut, true},
	{"many endless loops", `for i in range(4): os.fork()
while True: pass`, hang, func(t *testing.T, o Outcome) {
		if o.Why == "" {
			t.Errorf("it was not ended: %+v", o)
		}
	}, false},
	{"endless output", `while True: print("x" * 10000)`, short, ended("output"), true},
	{"endless errors", `while True: print("x" * 10000, file=sys.stderr)`, short, ended("output"), true},
	{"sleeps and ignores signals", `for s in range(1, 65):
    try: signal.signal(s, signal.SIG_IGN)
    except (OSError, ValueError): pass
time.sleep(1000)`, hang, timedOut, true},
	{"stops itself", `os.kill(os.getpid(), signal.SIGSTOP)`, hang, timedOut, true},
	{"does not read its input", `time.sleep(0.1); print("END")`, short, finished, true},
	{"dumps core", `attempt(resource.setrlimit, resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2); os.abort()`, short,
		func(t *testing.T, o Outcome) {
			if o.Signal == 0 || strings.Contains(string(o.Stdout), "DID") {
				t.Errorf("got %+v", o)
			}
		}, true},
	{"raises its limits", `for k in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    attempt(resource.setrlimit, k, (1 << 60, 1 << 60))
print("END")`, short, quiet, true},
	{"connects by TCP", `for host in ("127.0.0.1", "localhost", "10.0.0.1"):
    attempt(socket.create_connection, (host, TCP), 0.2)
print("END")`, short, quiet, false},
	{"sends by UDP", `def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secret", ("127.0.0.1", UDP))
attempt(send); print("END")`, short, quiet, false},
	{"asks the DNS", `attempt(socket.getaddrinfo, "example.com", 80); print("END")`, short, quiet, false},
	{"raw and netlink sockets", `for f, k in ((socket.AF_INET, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW)):
    attempt(socket.socket, f, k, 1)
print("END")`, short, quiet, false},
	{"unix socket", `def conn(): socket.socket(socket.AF_UNIX).connect(os.environ["A_UNIX"])
attempt(conn); print("END")`, short, quiet, false},
	{"abstract socket", `def conn(): socket.socket(socket.AF_UNIX).connect("\0" + os.environ["A_ABSTRACT"])
attempt(conn); print("END")`, short, quiet, false},
	{"reads the home directory", `attempt(read, SECRET); attempt(os.listdir, HOME); print("END")`, short, quiet, false},
	{"reads the run directory", `attempt(os.listdir, RUN); attempt(read, RUN + "/records"); print("END")`, short, quiet, false},
	{"reads /etc/shadow", `attempt(read, "/etc/shadow"); attempt(os.listdir, "/root"); attempt(os.listdir, "/home"); print("END")`, short, quiet, false},
	{"reads other processes", `for pid in [VICTIM, TEST, os.getppid()]:
    for what in ("environ", "mem", "maps", "fd/0", "root/etc/hostname", "cwd/x"):
        attempt(read, "/proc/%d/%s" % (pid, what))
for pid in range(max(1, os.getpid() - 500), os.getpid()):
    try: print(read("/proc/%d/environ" % pid))
    except OSError: pass
buf = ctypes.create_string_buffer(8)
iov = (ctypes.c_size_t * 2)(ctypes.addressof(buf), 8)
for pid in (VICTIM, TEST): attempt(lambda: 1 / int(libc.process_vm_readv(pid, iov, 1, iov, 1, 0) > 0))
print(dict(os.environ)); print("END")`, short, quiet, false},
	{"writes its parent's memory", `def mem(p):
    with open("/proc/%d/mem" % p, "r+b") as f: pass
for p in (os.getppid(), VICTIM, TEST): attempt(mem, p)
print("END")`, short, quiet, false},
	{"kills", `for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGSTOP, signal.SIGKILL):
    for pid in (TEST, VICTIM, os.getppid(), -1, -TEST):
        try: os.kill(pid, sig)
        except OSError: pass
        libc.syscall(200, pid, sig); libc.syscall(234, pid, pid, sig)
print("END")`, short, finished, false},
	{"kills by a descriptor's owner", `import fcntl
r, w = os.pipe()
for pid in (VICTIM, TEST, os.getppid()):
    try:
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC); fcntl.fcntl(r, 10, 9); fcntl.fcntl(r, fcntl.F_SETOWN, pid); os.write(w, b"x")
    except OSError: pass
print("END")`, short, finished, false},
	{"reschedules others", `for pid in (VICTIM, TEST):
    attempt(os.setpriority, os.PRIO_PROCESS, pid, 19); attempt(os.sched_setaffinity, pid, {0})
    attempt(resource.prlimit, pid, resource.RLIMIT_NOFILE, (7, 7)); attempt(os.sched_setscheduler, pid, os.SCHED_IDLE, os.sched_param(0))
print("END")`, short, finished, false},
	{"writes outside", `for d in ("/tmp", "/var/tmp", "/dev/shm", HOME, RUN, "/", "/usr", "/etc", "..", "/run"):
    try: write(d + "/" + os.environ["A_TOKEN"])
    except OSError: pass
print("END")`, short, finished, false},
	{"changes what is there", `for f in (lambda: os.chmod(SECRET, 0o777), lambda: os.chmod(HOME, 0), lambda: os.utime(SECRET, (1, 1)),
    lambda: os.truncate(SECRET, 0), lambda: os.open(SECRET, os.O_RDONLY | os.O_TRUNC), lambda: os.unlink(SECRET), lambda: os.rename(SECRET, SECRET + "x"),
    lambda: os.setxattr(SECRET, "user.x", b"y"), lambda: os.chown(SECRET, 1, 1), lambda: os.mkdir(RUN + "/x"), lambda: os.rmdir(RUN)):
    attempt(f)
print("END")`, short, quiet, false},
	{"removes everything", `import shutil
for d in (HOME, RUN, "/home", "/tmp", "/dev/shm", "..", "/usr/local"): shutil.rmtree(d, ignore_errors=True)
print("END")`, hang, any1, false},
	{"symbolic links", `attempt(os.symlink, SECRET, "s"); attempt(os.symlink, HOME, "h"); print("\n" * 3, "X")
sys.stdout.flush(); os.rename("s", "t")
for f in (lambda: print(read("t")), lambda: write("t"), lambda: print(os.listdir("h")), lambda: write("h/" + os.environ["A_TOKEN"])):
    try: f()
    except OSError: pass
print("END")`, short, finished, false},
	{"hard links", `attempt(os.link, SECRET, "x"); attempt(os.rename, SECRET, "y"); print("END")`, short, quiet, false},
	{"traces", `for pid in (VICTIM, TEST, os.getppid()): attempt(lambda: 1 / int(libc.ptrace(16, pid, 0, 0) == 0))
print("END")`, short, quiet, false},
	{"unshares, mounts, changes its root", `for flag in (0x10000000, 0x20000, 0x40000000): attempt(lambda: 1 / int(libc.unshare(flag) == 0))
attempt(lambda: 1 / int(libc.mount(b"tmpfs", b".", b"tmpfs", 0, None) == 0)); attempt(lambda: 1 / int(libc.umount2(b"/usr", 2) == 0))
attempt(os.chroot, "."); print("END")`, Limits{}, func(t *testing.T, o Outcome) {
		if o.Layers.Has(Seccomp) {
			quiet(t, o)
		}
	}, false},
	{"calls into the kernel's corners", `import platform
x86 = platform.machine() == "x86_64"
for n in (425, 323 if x86 else 282, 321 if x86 else 280, 298 if x86 else 241, 250 if x86 else 219, 248 if x86 else 217, 438, 169 if x86 else 142):
    call(n, 0, 0, 0, 0, 0)
print("END")`, short, func(t *testing.T, o Outcome) {
		if o.Layers.Has(Seccomp) {
			quiet(t, o)
		}
	}, false},
	{"foreign system calls", `import mmap, platform
if platform.machine() == "x86_64":
    m = mmap.mmap(-1, 4096, prot=7)
    m.write(bytes.fromhex("b814000000cd80c3")) # getpid of 32 bits
    pid = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()
    print("DID")`, short, func(t *testing.T, o Outcome) {
		if o.Layers.Has(Seccomp) && strings.Contains(string(o.Stdout), "DID") {
			t.Errorf("calls of 32 bits passed: %+v", o)
		}
	}, false},
	{"a million files", `i = 0
while i < 1000000:
    try: open("f%d" % i, "w").close()
    except OSError: pass
    i += 1
print("DID", len(os.listdir(".")))`, hang, fewFiles, false},
	{"fills inodes", `i = 0
while True:
    for f in (lambda: os.mkfifo("p%d" % i), lambda: os.symlink("x", "s%d" % i), lambda: os.mkdir("d%d" % i)):
        try: f()
        except OSError: pass
    i += 1`, hang, any1, false},
	{"sparse file of 1 TB", `signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def sparse():
    with open("s", "wb") as f: f.seek(1 << 40); f.write(b"x")
attempt(sparse); attempt(lambda: os.truncate("s", 1 << 40)); attempt(lambda: os.ftruncate(os.open("s", os.O_RDWR), 1 << 40)); print("END")`,
		short, quiet, true},
	{"bomb of zip", `import zipfile, io
b = io.BytesIO()
with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
    for i in range(64): z.writestr("f%d" % i, bytes(8 << 20))
zipfile.ZipFile(b).extractall("."); print("DID")`, hang, func(t *testing.T, o Outcome) {
		if strings.Contains(string(o.Stdout), "DID") {
			t.Errorf("512 MB were unpacked: %+v", o)
		}
	}, false},
	{"removed files that are open", `fs = []
for i in range(100):
    f = open("f", "wb"); os.unlink("f"); fs.append(f)
    for k in range(8): f.write(bytes(1 << 20)); f.flush()
print("DID")`, Limits{Wall: 4 * time.Second, Memory: 256 << 20, Disk: 16 << 20, Processes: 24}, func(t *testing.T, o Outcome) {
		if strings.Contains(string(o.Stdout), "DID") {
			t.Errorf("800 MB were written: %+v", o)
		}
	}, false},
	{"directory of depth 10,000", `try:
    for i in range(10000): os.mkdir("d" * 200); os.chdir("d" * 200)
except OSError: pass
print("END"); time.sleep(0.3)`, short, any1, true},
	{"modes that resist removal", `for i in range(5):
    os.mkdir("m%d" % i); open("m%d/f" % i, "w").close(); os.mkdir("m%d/n" % i); open("m%d/n/f" % i, "w").close()
    for p in ("m%d/n/f", "m%d/n", "m%d/f", "m%d"):
        try: os.chmod(p % i, 0)
        except OSError: pass
os.mkdir("w", 0o300); open("w/f", "w").close(); os.mkdir("w/x", 0)
try: os.chmod(".", 0)
except OSError: pass
print("END")`, short, finished, true},
	{"setuid programs", `import subprocess
for c in ([os.environ["A_SETUID"], "-u"], ["/bin/su", "-c", "id"], ["/usr/bin/passwd", "-S"]):
    try: print(subprocess.run(c, capture_output=True, timeout=1, stdin=subprocess.DEVNULL).stdout)
    except Exception: pass
print("NNP", libc.prctl(39, 0, 0, 0, 0)); print("END")`, short, func(t *testing.T, o Outcome) {
		finished(t, o)
		if !strings.Contains(string(o.Stdout), "NNP 1") || o.Layers.Has(OwnUser) && strings.Contains(string(o.Stdout), "b'0") {
			t.Errorf("a setuid program had its effect:\n%s", o.Stdout)
		}
	}, true},
	{"inherited descriptors", `for fd in range(3, 4096): attempt(os.write, fd, b"defaced")
print("END")`, short, quiet, true},
	{"a long command", `import subprocess
try: subprocess.run(["/bin/true"] + ["x" * 100000] * 1000)
except (OSError, MemoryError): pass
print("END")`, Limits{Wall: 4 * time.Second, Memory: 512 << 20}, finished, true},
	{"types into a terminal", `import fcntl
for path in ("/dev/tty", "/dev/console", "/dev/pts/0", "/dev/ptmx"):
    try: fd = os.open(path, os.O_RDWR)
    except OSError: continue
    attempt(fcntl.ioctl, fd, 0x5412, b"x")
for fd in range(3): attempt(fcntl.ioctl, fd, 0x5412, b"x")
print("END")`, short, quiet, false},
	{"memory that no size shows", `n = 0
try:
    fds = [os.memfd_create("x") for i in range(40)]
    for f in fds:
        for k in range(16): os.write(f, bytes(1 << 20)); n += 1
except OSError: pass
shm = libc.shmget(0, 1 << 33, 0o1600)
print("SHM", shm, "MEM", n); print("END")`, short, func(t *testing.T, o Outcome) {
		finished(t, o)
		if o.Layers.Has(Seccomp) && !strings.Contains(string(o.Stdout), "SHM -1 MEM 0\n") {
			t.Errorf("it got memory that is not seen:\n%s", o.Stdout)
		}
	}, false},
	{"devices", `try: names = os.listdir("/dev")
except OSError: names = ["sda", "vda", "mem", "kmsg", "nvidia0", "fuse", "kvm"]
for d in names:
    if d not in ("null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm"): attempt(read, "/dev/" + d)
attempt(os.mknod, "node", 0o60600, os.makedev(254, 0)); print("END")`, short, quiet, false},
	{"forges the report", `for pid in [1] + list(range(max(2, os.getpid() - 40), os.getpid() + 1)):
    for fd in range(3, 8):
        try:
            with open("/proc/%d/fd/%d" % (pid, fd), "w") as f: f.write("exit 0 0 0\n")
            print("DID", pid, fd)
        except OSError: pass
print("END"); sys.exit(3)`, short, func(t *testing.T, o Outcome) {
		quiet(t, o)
		if o.ExitCode != 3 {
			t.Errorf("exit code %d, not 3", o.ExitCode)
		}
	}, false},
}

func timedOut(t *testing.T, o Outcome) {
	if !o.TimedOut {
		t.Errorf("it did not use up its time: %+v", o)
	}
}

func fewFiles(t *testing.T, o Outcome) {
	if s := string(o.Stdout); o.Why == "" && !strings.Contains(s, "DID 1000") && !strings.Contains(s, "DID 999") && !strings.Contains(s, "DID 1001") {
		t.Errorf("it was not stopped: %s %+v", s, o)
	}
}
