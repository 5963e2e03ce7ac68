package worker

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"sextant/pkg/checkpoint"
)

// TestAuto: without the cuda library the work is done by the cpu, and the log says why, louder where GPUs were given.
func TestAuto(t *testing.T) {
	t.Setenv("SEXTANT_CUDA_LIB", filepath.Join(t.TempDir(), "none.so"))
	for _, c := range []struct{ backend, visible, log string }{
		{"auto", "", "level=INFO"}, {"", "", "level=INFO"}, {"auto", "0,1", "level=WARN"}, {"auto", "NoDevFiles", "level=INFO"}, {"cpu", "0", ""},
	} {
		t.Setenv("CUDA_VISIBLE_DEVICES", c.visible)
		var log bytes.Buffer
		ck, err := checkpoint.Open("../../examples/pocket/model")
		if err != nil {
			t.Fatal(err)
		}
		l, err := loadOnto(context.Background(), ck, nil, loading{backend: c.backend, threads: 1, log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		says := log.String()
		if l.backend != "cpu" || (c.log == "") != (says == "") || !strings.Contains(says, c.log) || c.log != "" && !strings.Contains(says, "none.so") {
			t.Errorf("%+v: %s, log %q", c, l.backend, says)
		}
		l.close()
	}
	if name, why := ChooseBackend("auto"); name != "cpu" || why == nil || !strings.Contains(why.Error(), "none.so") {
		t.Errorf("auto is %s, %v", name, why)
	}
	if name, why := ChooseBackend("ref"); name != "ref" || why != nil {
		t.Errorf("ref is %s, %v", name, why)
	}
	ck, err := checkpoint.Open("../../examples/pocket/model")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadOnto(context.Background(), ck, nil, loading{backend: "cuda"}); err == nil || !strings.Contains(err.Error(), "opening the backend") {
		t.Errorf("cuda, which is not there: %v", err)
	}
	if n := deviceCache(100, 20); n != 72 {
		t.Errorf("a cache of %d", n)
	}
	if n := deviceCache(10, 20); n != 1 {
		t.Errorf("no memory gives a cache of %d", n)
	}
}
