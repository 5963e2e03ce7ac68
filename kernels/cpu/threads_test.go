//go:build cgo

package cpu

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// tree writes files under a fresh root.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, text := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// twoNodes is 8 cores of 2 hyperthreads on 2 nodes: core i has CPUs i and i+8, and even cores are node 0's.
func twoNodes() map[string]string {
	files := map[string]string{
		"sys/devices/system/cpu/online":         "0-15",
		"sys/devices/system/node/online":        "0-1",
		"sys/devices/system/node/node0/cpulist": "0,2,4,6,8,10,12,14",
		"sys/devices/system/node/node1/cpulist": "1,3,5,7,9,11,13,15",
	}
	for c := range 16 {
		name := "core_cpus_list"
		if c%3 == 0 {
			name = "thread_siblings_list" // as old kernels have it
		}
		files[fmt.Sprintf("sys/devices/system/cpu/cpu%d/topology/%s", c, name)] = fmt.Sprintf("%d,%d", c%8, c%8+8)
	}
	return files
}

func with(files map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

func TestPlaces(t *testing.T) {
	type list = []int32
	all := Places{CPUs: 16, Machine: 16, Threads: 8, CPU: list{0, 2, 4, 6, 1, 3, 5, 7}, Node: list{0, 0, 0, 0, 1, 1, 1, 1}}
	limited := func(quota float64, threads int) Places {
		p := all
		p.Quota, p.Threads = quota, threads
		return p
	}
	const unset, never, always = 0, 1, 2
	pinned := all
	pinned.Pinned = true
	for _, c := range []struct {
		name       string
		files      map[string]string
		cpus       string
		how, asked int
		want       Places
	}{
		{"nothing to read", nil, "0-2", unset, 0, Places{CPUs: 3, Threads: 3, CPU: list{0, 1, 2}, Node: list{0, 0, 0}}},
		{"no CPU", nil, "", unset, 0, Places{Threads: 1}},
		{"a whole machine is not pinned", twoNodes(), "0-15", unset, 0, all},
		{"unless told", twoNodes(), "0-15", always, 0, pinned},
		{"more threads than cores are not", twoNodes(), "0-15", always, 9, all},
		{"a batch system's part is", twoNodes(), "1,2,9,10,11", unset, 0,
			Places{CPUs: 5, Machine: 16, Threads: 3, Pinned: true, CPU: list{2, 1, 11}, Node: list{0, 1, 1}}},
		{"unless told", twoNodes(), "1,2", never, 0, Places{CPUs: 2, Machine: 16, Threads: 2, CPU: list{2, 1}, Node: list{0, 1}}},
		{"or with other threads", twoNodes(), "1,2", unset, 1, Places{CPUs: 2, Machine: 16, Threads: 2, CPU: list{2, 1}, Node: list{0, 1}}},
		{"nodes without our CPUs do not count", twoNodes(), "1,3", unset, 0,
			Places{CPUs: 2, Machine: 16, Threads: 2, Pinned: true, CPU: list{1, 3}, Node: list{0, 0}}},
		{"v2", with(twoNodes(), "proc/self/cgroup", "0::/a/b", "sys/fs/cgroup/a/b/cpu.max", "max 100000",
			"sys/fs/cgroup/a/cpu.max", "250000 100000"), "0-15", unset, 0, limited(2.5, 3)},
		{"v2 at the root of its namespace", with(twoNodes(), "proc/self/cgroup", "0::/", "sys/fs/cgroup/cpu.max", "50000 100000"),
			"0-15", unset, 0, limited(0.5, 1)},
		{"v1", with(twoNodes(), "proc/self/cgroup", "3:memory:/x\n2:cpu,cpuacct:/job\n0::/",
			"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "400000", "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000",
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
			"0-15", unset, 0, limited(4, 4)},
		{"v1 whose path is the host's", with(twoNodes(), "proc/self/cgroup", "2:cpuacct,cpu:/host/path",
			"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000", "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"), "0-15", unset, 0, limited(1, 1)},
		{"a quota beyond the cores", with(twoNodes(), "proc/self/cgroup", "0::/", "sys/fs/cgroup/cpu.max", "1200000 100000"),
			"0-15", unset, 0, limited(12, 8)},
		{"rubbish", map[string]string{"proc/self/cgroup": "0::", "sys/devices/system/cpu/online": "-", "sys/devices/system/node/online": "x",
			"sys/devices/system/cpu/cpu0/topology/core_cpus_list": "9-1,", "sys/fs/cgroup/cpu.max": "5"}, "0-1", unset, 0,
			Places{CPUs: 2, Threads: 2, CPU: list{0, 1}, Node: list{0, 0}}},
	} {
		if got := PlacesOf(tree(t, c.files), c.cpus, c.how, c.asked); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestHandOut: every item is done once, whatever nodes the threads are on; and a thread begins with its own node's part.
func TestHandOut(t *testing.T) {
	for _, node := range [][]int32{{0}, {0, 0, 0}, {0, 1}, {0, 0, 0, 1}, {0, 1, 1, 2, 2, 2, 3}} {
		for _, n := range []int{0, 1, 2, 3, 7, 1000} {
			_, times, ok := HandOut(node, n, false)
			if !ok {
				t.Fatal("no threads")
			}
			for i, k := range times {
				if k != 1 {
					t.Fatalf("nodes %v, %d items: item %d was done %d times", node, n, i, k)
				}
			}
		}
		if len(node) == 1 {
			continue
		}
		by, _, _ := HandOut(node, len(node), true)
		for i, thread := range by {
			if node[thread] != node[i] {
				t.Errorf("nodes %v: item %d was done by thread %d", node, i, thread)
			}
		}
	}
}
