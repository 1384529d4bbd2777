// Command posthouse is a node of a network of AMQP 1.0 routers with a memory, and the tools to use and operate it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/posthouse/posthouse/cmd/posthouse/cli"
	"github.com/posthouse/posthouse/cmd/posthouse/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, cli.New(newServe(), demo.New()), os.Args[1:], os.Stderr)
	stop()
	os.Exit(code)
}
