// Package s3lab runs a real S3 server for tests, versitygw, and a proxy before it that counts, slows down and breaks what goes through. The server is
// built from the module in gateway when it is first wanted, once for each user and version.
package s3lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Server is a running server with one account.
type Server struct {
	URL            string
	Access, Secret string
	client         *minio.Client
	pipe           io.Closer // to the process
}

// running is the server of this process.
var running struct {
	sync.Mutex
	*Server
}

// Start gives the server of this process, which is started when it is first asked for and ends with the process. SEXTANT_S3LAB=off skips the test,
// where the server cannot be built for want of a network.
func Start(t testing.TB) *Server {
	t.Helper()
	if os.Getenv("SEXTANT_S3LAB") == "off" {
		t.Skip("SEXTANT_S3LAB=off: no S3 server")
	}
	running.Lock()
	defer running.Unlock()
	if running.Server != nil {
		return running.Server
	}
	program, err := build()
	if err != nil {
		t.Fatalf("%v\nSEXTANT_S3LAB=off leaves out the tests that need it", err)
	}
	s := &Server{Access: "AK" + word(), Secret: "SK" + word() + word()}
	for range 5 { // the port may be taken between finding and using it
		if s.run(t, program) {
			running.Server = s
			return s
		}
	}
	t.Fatal("the S3 server does not start")
	return nil
}

func word() string {
	b := make([]byte, 10)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// run starts the server on a free port, and tells whether it answers. It ends, and removes what it keeps, when the pipe to it is closed: with this
// process, however that ends.
func (s *Server) run(t testing.TB, program string) bool {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "sextant-s3-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, address, dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Access, "ROOT_SECRET_KEY="+s.Secret)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if s.pipe, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	s.URL = "http://" + address
	s.client = s.at(t, s.URL)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			t.Logf("the S3 server ended: %s", &text)
			return false
		default:
		}
		if _, err := s.client.ListBuckets(context.Background()); err == nil {
			return true
		}
	}
	t.Fatal("the S3 server does not answer")
	return false
}

// at is a client for an address. Connections are used once: the server answers again on some after an upload, which would be logged.
func (s *Server) at(t testing.TB, address string) *minio.Client {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(u.Host, &minio.Options{Creds: credentials.NewStaticV4(s.Access, s.Secret, ""), Region: "us-east-1", MaxRetries: 1,
		Transport: &http.Transport{DisableKeepAlives: true}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// build gives the program, built where it is not there: its name tells of what it was built.
func build() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), "gateway")
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version())
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		h.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	program := filepath.Join(cache, "sextant-lab", fmt.Sprintf("s3-gateway-%x", h.Sum(nil)[:8]))
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(program+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", program+".new", ".")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the S3 server: %w\n%s", err, out)
	}
	return program, os.Rename(program+".new", program)
}

// Put uploads a file as an object. The bucket is made.
func (s *Server) Put(t testing.TB, bucket, key string, data []byte) {
	t.Helper()
	ctx := context.Background()
	if err := s.client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
		if ok, _ := s.client.BucketExists(ctx, bucket); !ok {
			t.Fatal(err)
		}
	}
	if _, err := s.client.PutObject(ctx, bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{DisableMultipart: true}); err != nil {
		t.Fatalf("putting %s/%s: %v", bucket, key, err)
	}
}

// PutDir uploads the files below a directory, under a prefix that ends in "/".
func (s *Server) PutDir(t testing.TB, bucket, prefix, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil {
			s.Put(t, bucket, prefix+filepath.ToSlash(name), data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Read reads an object at once, at another address, such as a proxy's, and gives its size.
func (s *Server) Read(t testing.TB, address, bucket, key string) int64 {
	t.Helper()
	o, err := s.at(t, address).GetObject(context.Background(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	n, err := io.Copy(io.Discard, o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Remove removes an object.
func (s *Server) Remove(t testing.TB, bucket, key string) {
	t.Helper()
	if err := s.client.RemoveObject(context.Background(), bucket, key, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Profiles writes a file of profiles, as petreloss.conf is one, whose profile has this server's keys at another address, such as a proxy's.
func (s *Server) Profiles(t testing.TB, profile, address string) string {
	t.Helper()
	if u, err := url.Parse(address); err != nil || u.Host == "" {
		t.Fatal(errors.Join(err, fmt.Errorf("%q is no address", address)))
	}
	path := filepath.Join(t.TempDir(), "petreloss.conf")
	text := fmt.Sprintf("[DEFAULT]\ndefault_cluster = %s\n\n[%s]\nhost_base = %s\naccess_key = %s\nsecret_key = %s\n", profile, profile, address, s.Access, s.Secret)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
