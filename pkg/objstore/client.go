package objstore

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// client speaks to one server with one account's keys. It tries each request once: who calls it tries again.
type client struct {
	account account
	core    *minio.Core
	limits  limits
	told    atomic.Int64 // when it was last told that something is tried again, Unix nanoseconds
}

// limits are what is waited for, and how often.
type limits struct {
	idle     time.Duration // without a byte, before a request is given up
	attempts int           // of a request that brings nothing
	pause    time.Duration // before the second attempt; twice as long before each that follows, at most 5 s
	silence  time.Duration // before it is told that something is tried again
}

// connections is how many requests are under way at once, for all servers together.
const connections = 16

func newClient(a account, l limits) (*client, error) {
	dialer := net.Dialer{Timeout: min(10*time.Second, l.idle), KeepAlive: 15 * time.Second}
	core, err := minio.NewCore(a.endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(a.access, a.secret, a.session), Secure: a.secure, Region: a.region, MaxRetries: 1,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2 * connections,
			IdleConnTimeout: time.Minute, TLSHandshakeTimeout: min(10*time.Second, l.idle), ResponseHeaderTimeout: 2 * l.idle, DisableCompression: true,
			ReadBufferSize: 256 << 10},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.name, err)
	}
	core.SetAppInfo("sextant", "1")
	return &client{account: a, core: core, limits: l}, nil
}

// stat is an object as a server lists it.
type stat struct {
	key  string
	etag string
	size int64
	time time.Time
}

// mostObjects is how many a model or a dataset may have.
const mostObjects = 100_000

// listAgain is list, tried again.
func (c *client) listAgain(ctx context.Context, bucket string, o minio.ListObjectsOptions, most int) (list []stat, err error) {
	err = c.retry(ctx, func() (_ bool, err error) {
		list, err = c.list(ctx, bucket, o, most)
		return false, err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return list, c.explain(err, bucket, o.Prefix)
}

// list gives the objects, at most so many.
func (c *client) list(ctx context.Context, bucket string, o minio.ListObjectsOptions, most int) (list []stat, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(2*c.limits.idle, func() { cancel(errHangs{2 * c.limits.idle}) })
	defer idle.Stop()
	for o := range c.core.Client.ListObjects(ctx, bucket, o) {
		if idle.Reset(2 * c.limits.idle); o.Err != nil {
			return nil, hung(ctx, o.Err)
		}
		if strings.HasSuffix(o.Key, "/") || o.ETag == "" {
			continue // a prefix, or the empty object that some tools make for one
		}
		if list = append(list, stat{o.Key, strings.Trim(o.ETag, `"`), o.Size, o.LastModified}); len(list) == most {
			return list, nil
		}
	}
	return list, hung(ctx, nil)
}

// get asks for bytes [from, to) of one version of an object. What comes is theirs, as far as the server's words go; there may be less.
func (c *client) get(ctx context.Context, bucket string, s stat, from, to int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	if err := o.SetRange(from, to-1); err != nil {
		return nil, err
	}
	if err := o.SetMatchETag(s.etag); err != nil {
		return nil, err
	}
	body, info, header, err := c.core.GetObject(ctx, bucket, s.key, o)
	if err != nil {
		return nil, err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, s.size)
	switch got := header.Get("Content-Range"); {
	case strings.Trim(info.ETag, `"`) != s.etag:
		err = oddAnswer(fmt.Sprintf("sent another version (ETag %q, asked for %q)", info.ETag, s.etag))
	case got == "" && (from != 0 || info.Size != s.size || to != s.size):
		err = oddAnswer(fmt.Sprintf("sent the whole object for %q", want))
	case got != "" && got != want:
		err = oddAnswer(fmt.Sprintf("sent %q for %q", got, want))
	}
	if err != nil {
		body.Close()
		return nil, err
	}
	return body, nil
}

// oddAnswer is an answer to another question. A proxy may have given it: it is asked again.
type oddAnswer string

func (o oddAnswer) Error() string { return "the server " + string(o) }
