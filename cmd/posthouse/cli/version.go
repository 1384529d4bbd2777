package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// Version is set at link time (-X) for releases.
var Version = "0.1.0-dev"

func newVersion(c *common) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Args:    cobra.NoArgs,
		Example: "  posthouse version\n  posthouse version --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.output == "json" {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "posthouse %s (%s, %s/%s)\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
