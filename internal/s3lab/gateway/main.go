// Gateway is a VersityGW, an S3 server over a directory, with one account: what it is for are tests. It needs not the other stores that VersityGW's own
// program can stand before, and is built in less time.
//
//	ROOT_ACCESS_KEY=A ROOT_SECRET_KEY=S gateway HOST:PORT DIR
//
// It ends when its standard input does, and removes DIR.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: gateway HOST:PORT DIR")
	}
	data, side := filepath.Join(os.Args[2], "data"), filepath.Join(os.Args[2], "meta")
	for _, dir := range []string{data, side} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			log.Fatal(err)
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = os.RemoveAll(os.Args[2])
		os.Exit(0)
	}()
	store, err := meta.NewSideCar(side)
	if err != nil {
		log.Fatal(err)
	}
	o := posix.PosixOpts{SideCarDir: side, Concurrency: 5000, IOBufferSize: 1 << 20}
	o.SetNewDirPerm(0o700)
	o.SetNewFilePerm(0o600)
	backend, err := posix.New(data, store, o)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(embedgw.RunVersityGW(context.Background(), backend, &embedgw.Config{
		RootUserAccess: os.Getenv("ROOT_ACCESS_KEY"), RootUserSecret: os.Getenv("ROOT_SECRET_KEY"), Region: "us-east-1",
		Ports: []string{os.Args[1]}, MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 10000, Quiet: true, KeepAlive: true,
	}))
}
