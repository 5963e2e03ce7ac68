package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// User numbers that root gives away: far above any that a site hands out, and different for each program that runs at a time, whichever
// process started it. A program beyond so many of a process waits for another's end.
const (
	usersFrom   = 1_900_000_000
	usersOfEach = 64
)

// freeUsers are this process's numbers that no program has.
var freeUsers = sync.OnceValue(func() chan int {
	free := make(chan int, usersOfEach)
	for i := range usersOfEach {
		free <- usersFrom + os.Getpid()%(1<<21)*usersOfEach + i
	}
	return free
})

// reachable says whether a stranger may start the program's command and read its paths.
func (r *running) reachable() bool {
	for _, p := range append([]string{r.program.Argv[0], r.dir}, r.program.Read...) {
		for d := filepath.Dir(p); ; d = filepath.Dir(d) {
			if st, err := os.Stat(d); err != nil || st.Mode()&0o001 == 0 {
				return false
			}
			if d == "/" {
				break
			}
		}
	}
	return r.probe || unix.Access(r.program.Argv[0], unix.X_OK) == nil
}

// countsByNamespace says whether the kernel counts a user's processes in each user namespace apart: since Linux 5.14.
func countsByNamespace() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n < 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 14
}

var tasksSeen struct {
	sync.Mutex
	at    time.Time
	count int
}

// userTasks counts the user's processes and threads, as they were at most a second ago.
func userTasks() int {
	tasksSeen.Lock()
	defer tasksSeen.Unlock()
	if time.Since(tasksSeen.at) < time.Second {
		return tasksSeen.count
	}
	count, uid := 0, uint32(os.Getuid())
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st syscall.Stat_t
		if syscall.Stat("/proc/"+e.Name(), &st) == nil && st.Uid == uid {
			if p, ok := readProcess(pid); ok {
				count += p.threads
			}
		}
	}
	tasksSeen.at, tasksSeen.count = time.Now(), count
	return count
}
