package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/posthouse/posthouse/cmd/posthouse/cli"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/cmd/posthouse/node"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until it is told to stop (SIGTERM, Ctrl-C). Without flags it is a node of its own, useful at once: AMQP on
127.0.0.1:5672, the admin API and metrics on 127.0.0.1:8672, data in ./posthouse-data.

Every setting has the same name in the YAML file (--config), as a flag and as an environment variable; a flag wins over
a variable, a variable over the file. The nodes of a cluster have the same cluster.nodes, are started in any order, and
need no other command to form it.

Exit codes: 0 it was told to stop; 1 it could not start (the configuration, a port, the data directory of another node), or
its ports failed; 2 the command line is wrong; 4 its disk has failed, or what is on it is damaged, at the start or later:
another start ends the same until that is mended as the message says.`,
		Example: `  posthouse serve
  posthouse serve --config node-a.yaml
  posthouse serve --node a --cluster.nodes name=a,raft=10.0.0.1:7100,router=10.0.0.1:7101 --cluster.nodes name=b,...
  POSTHOUSE_LOG_LEVEL=debug posthouse serve`,
		Args: cobra.NoArgs,
	}
	file := cmd.Flags().String("config", os.Getenv("POSTHOUSE_CONFIG"), "configuration file [$POSTHOUSE_CONFIG]")
	flags := config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*file, os.Environ(), flags)
		if err != nil {
			return err
		}
		return serve(cmd.Context(), cfg, newLog(cfg.Log, cmd.ErrOrStderr()))
	}
	return cmd
}

func newLog(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func serve(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	fatal := func(msg string, err error) {
		log.Error("the node can't go on: "+msg, "error", err)
		os.Exit(cli.ExitFatal) // nothing more may be written, not even in an orderly way
	}
	node.LimitMemory(cfg.Memory)
	n, err := node.Open(ctx, cfg, cli.Version, log, fatal)
	if err != nil {
		err = fmt.Errorf("start node %s: %w", cfg.Node, err)
		if node.Damaged(err) {
			return cli.Exit(cli.ExitFatal, err)
		}
		return err
	}
	err = n.Run(ctx)
	if closeErr := n.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err == nil {
		log.Info("node has stopped", "node", cfg.Node)
	}
	return err
}
