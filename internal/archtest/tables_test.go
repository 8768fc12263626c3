package archtest

// module is the path of this module; every package of ours begins with it.
const module = "kenkyo"

// level is one row of the house's table. Prefix ends in a slash when it stands for all packages below it.
type level struct {
	prefix string
	number int
}

// levels is the house, from the ground up. A package imports only packages of lower levels; what else is allowed stands in sideways.
var levels = []level{
	{"internal/lab", 0},
	{"internal/fault", 0},
	{"internal/standard/", 1},
	{"internal/clinic/", 2},
	{"internal/mlops/", 2},
	{"internal/trust/", 2},
	{"internal/assist/", 2},
	{"internal/ops/", 2},
	{"internal/adapter/", 3},
	{"internal/edge", 3},
	{"internal/edge/", 3},
	{"internal/app", 4},
	{"internal/archtest", 4},
	{"cmd/", 4},
}

// domain is the highest level that must stay free of databases, transport, processes and cgo.
const domain = 2

// edge is one allowed import within a level.
type edge struct {
	from, to, reason string
}

// sideways lists the imports allowed within one level.
var sideways = []edge{
	{"internal/clinic/", "internal/trust/audit", "the main job writes the trail in its own transactions"},
	{"internal/clinic/", "internal/trust/policy", "the main job asks before it shows"},
	{"internal/clinic/", "internal/trust/seal", "images and patient fields are sealed where they enter and opened where they are used"},
	{"internal/clinic/", "internal/mlops/registry", "prediction runs the packages that the registry keeps"},
	{"internal/edge", "internal/edge/", "the agent joins its own parts"},
	{"internal/edge/", "internal/edge", "the agent's commands start it"},
	{"internal/edge/", "internal/edge/", "the agent is one program in several packages"},
	{"internal/edge/", "internal/adapter/lis", "the agent speaks to the laboratory system"},
	{"cmd/", "internal/app", "main starts the program that app puts together"},
}

// closed are packages that only the listed ones may import.
var closed = []edge{
	{"internal/app", "internal/assist/", "assistants are wired in app and nothing depends on them"},
	{"internal/assist/", "internal/assist/", "assistants may build on each other"},
}

// forbidden are imports that the domain must not have; subpackages included.
var forbidden = map[string]string{
	"database/sql": "stores live in internal/adapter/store",
	"net/http":     "transport lives in internal/adapter/httpapi",
	"os/exec":      "processes live in internal/adapter",
	"C":            "cgo lives in internal/adapter",
}

// outside is a third-party module that one package of the domain may import.
type outside struct {
	pkg, module, reason string
}

// libraries lists every third-party module in the domain. A row that nothing uses fails as well.
var libraries = []outside{
	{"internal/lab", "github.com/google/uuid", "identifiers that sort by time of issue (UUID version 7)"},
	{"internal/clinic/assay", "github.com/goccy/go-yaml", "the catalogue is YAML that a laboratory edits; errors name line and column"},
	{"internal/mlops/registry", "github.com/goccy/go-yaml", "the manifest is YAML; strict decoding and its tokens, to refuse aliases"},
	{"internal/trust/seal", "github.com/tink-crypto/tink-go/v2", "envelope and streaming encryption are not written by hand"},
}

// drivers are database drivers: blank-imported where a program is put together, imported nowhere else.
var drivers = []string{
	"modernc.org/sqlite", "github.com/mattn/go-sqlite3", "github.com/lib/pq", "github.com/jackc/pgx", "github.com/go-sql-driver/mysql",
	"github.com/uptrace/bun/driver", "github.com/microsoft/go-mssqldb",
}

// driverHomes are the packages that may blank-import a driver.
var driverHomes = []string{"cmd/", "internal/app"}

// agentLibraries is everything from outside that kenkyo-edge links: the hospital's agent stays small and pure Go.
var agentLibraries = map[string]string{
	"github.com/spf13/cobra":               "commands",
	"github.com/spf13/pflag":               "cobra's flags",
	"github.com/inconshreveable/mousetrap": "cobra on Windows: tells a double click from a prompt",
	"github.com/google/uuid":               "identifiers of internal/lab",
	"golang.org/x/sys":                     "file locks and the language of Windows",
}

// agentForbidden are standard packages that kenkyo-edge must not link. Their subpackages are not meant: uuid links
// database/sql/driver for its interfaces.
var agentForbidden = map[string]string{
	"database/sql": "the agent keeps files",
	"plugin":       "the agent loads no code",
}

// agentOurs are our packages that kenkyo-edge may link.
var agentOurs = []string{
	"cmd/kenkyo-edge", "internal/edge", "internal/edge/", "internal/lab", "internal/fault", "internal/standard/", "internal/adapter/lis",
}

// vague are package names that say nothing.
var vague = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "base", "manager", "misc", "shared"}

// Limits of size.
const (
	maxFileLines  = 600 // more fails, unless the file is generated
	longFileLines = 400 // more is reported
	maxMethods    = 8   // of an interface that a package of the domain declares
)

// maxPathFunctions is how many functions one image may pass from the socket to its result.
const maxPathFunctions = 10
