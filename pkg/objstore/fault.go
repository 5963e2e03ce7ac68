package objstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// lasting tells whether it is of no use to ask again.
func lasting(err error) bool {
	var full diskError
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &full) || errors.As(err, &untrusted) || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	r := response(err)
	switch r.Code {
	case "RequestTimeout", "SlowDown", "SlowDownRead", "InternalError", "ServiceUnavailable":
		return false
	}
	switch r.StatusCode {
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusRequestedRangeNotSatisfiable:
		return false
	}
	return r.StatusCode < 500
}

// response is what a server said; nothing: it is no answer of a server.
func response(err error) (r minio.ErrorResponse) {
	errors.As(err, &r)
	return r
}

// explain says what is wrong and what to do, of what, for the user.
func (c *client) explain(err error, bucket, key string) error {
	if err == nil {
		return nil
	}
	var full diskError
	if errors.As(err, &full) || errors.Is(err, context.Canceled) {
		return err
	}
	who, host := c.account.name, c.account.endpoint
	r := response(err)
	tell := func(kind error, format string, args ...any) error {
		return told{fmt.Sprintf(format, args...), []error{err, kind}}
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return tell(fs.ErrPermission, "the certificate of %s (%s) is not trusted here: %v; SSL_CERT_FILE can name the file of its authority", host, who,
			untrusted.Err)
	case errors.Is(err, http.ErrSchemeMismatch):
		return tell(nil, "the server %s (%s) speaks http and not https: write its address as http://%s", host, who, host)
	}
	switch r.Code {
	case "NoSuchBucket":
		return tell(fs.ErrNotExist, "the server %s has no bucket %q (%s)", host, bucket, who)
	case "NoSuchKey":
		return tell(fs.ErrNotExist, "bucket %q of %s has no object %q any more", bucket, host, key)
	case "InvalidAccessKeyId", "InvalidAccessKey", "InvalidClientTokenId", "XAdminUserNotFound": // the last of VersityGW
		return tell(fs.ErrPermission, "the server %s does not know the access key of %s", host, who)
	case "SignatureDoesNotMatch":
		return tell(fs.ErrPermission, "the server %s refuses the signature: the secret key of %s is wrong", host, who)
	case "ExpiredToken", "InvalidToken", "InvalidSecurity":
		return tell(fs.ErrPermission, "the server %s refuses the session token of %s: it may have run out", host, who)
	case "AccessDenied", "AllAccessDisabled":
		return tell(fs.ErrPermission, "the server %s does not let %s read bucket %q", host, who, bucket)
	case "RequestTimeTooSkewed":
		return tell(nil, "the server %s refuses the request, for this machine's clock differs from its own: set the clock", host)
	case "PreconditionFailed":
		return tell(nil, "object %q was changed on the server %s while it was read: start again, and nothing of the old one is used", key, host)
	case "":
		return tell(nil, "%s: %s", host, c.clean(err.Error()))
	}
	var times string
	if g := (gaveUp{}); errors.As(err, &g) {
		times = fmt.Sprintf(" (tried %d times)", g.attempts)
	}
	return tell(nil, "the server %s (%s): %s: %s%s", host, who, r.Code, c.clean(r.Message), times)
}

// told is an error in words for the user, with those that it is made of.
type told struct {
	text string
	of   []error
}

func (t told) Error() string   { return t.text }
func (t told) Unwrap() []error { return t.of }

// ErrPassing is in the errors of what may be gone at another time or place: the server, or the way to it, failed again and again, or this node's
// cache has no room.
var ErrPassing = errors.New("the object store, or the way to it, failed")

// clean keeps keys out of a text that a server or a library has made.
func (c *client) clean(text string) string {
	for _, secret := range []string{c.account.secret, c.account.session, c.account.access} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[key]")
		}
	}
	return text
}

// retry does f until it succeeds, fails for good, or has failed so often with nothing brought forward. f says whether it has brought any.
func (c *client) retry(ctx context.Context, f func() (progress bool, err error)) error {
	begun := time.Now()
	for failed := 1; ; failed++ {
		progress, err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if progress {
			failed, begun = 1, time.Now()
		}
		if lasting(err) {
			return err
		}
		if failed >= c.limits.attempts || failed >= attemptsOfName && unknownName(err) {
			return gaveUp{err, failed}
		}
		if time.Since(begun) > c.limits.silence {
			c.tell(err, failed)
		}
		pause := min(c.limits.pause<<min(failed-1, 20), 5*time.Second)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
	}
}

// tellEvery is how long nothing more is told of a server.
const tellEvery = 10 * time.Second

// tell tells that something is tried again.
func (c *client) tell(err error, failed int) {
	last, now := c.told.Load(), time.Now().UnixNano()
	if f := telling.Load(); f != nil && now-last > int64(tellEvery) && c.told.CompareAndSwap(last, now) {
		(*f)(fmt.Sprintf("the object store %s: %s; tried %d times", c.account.endpoint, c.clean(err.Error()), failed))
	}
}

// attemptsOfName is how often a name is looked up that no name server knows: it is misspelt, more often than not, and somebody waits.
const attemptsOfName = 4

func unknownName(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// gaveUp is the error of the last of several attempts.
type gaveUp struct {
	error
	attempts int
}

func (g gaveUp) Error() string { return fmt.Sprintf("%v (tried %d times)", g.error, g.attempts) }

func (g gaveUp) Unwrap() []error { return []error{g.error, ErrPassing} }

// diskError is the cache's, not the server's.
type diskError struct{ error }

func (d diskError) Unwrap() []error { return []error{d.error, ErrPassing} }
