package shim

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// spec is the options of a command: each a long name, "=" after one that takes a value and "?" after one that may, with its letter before.
type spec struct {
	options string
	code    int  // exit code of a wrong option
	stop    bool // arguments end at the first that is no option
}

var specs = map[string]spec{
	"sbatch": {code: 255, stop: true, options: `A:account= a:array= batch= b:begin= D:chdir= M:clusters= comment= C:constraint= contiguous
		S:core-spec= cores-per-socket= cpu-freq= cpus-per-gpu= c:cpus-per-task= deadline= delay-boot= d:dependency= m:distribution= e:error=
		x:exclude= exclusive? export= export-file= B:extra-node-info= get-user-env? gid= gpu-bind= gpu-freq= G:gpus= gpus-per-node=
		gpus-per-socket= gpus-per-task= gres= gres-flags= h:help hint= H:hold ignore-pbs i:input= J:job-name= kill-on-invalid-dep= L:licenses=
		mail-type= mail-user= mcs-label= mem= mem-bind= mem-per-cpu= mem-per-gpu= mincpus= network= nice? k:no-kill? no-requeue F:nodefile=
		w:nodelist= N:nodes= n:ntasks= ntasks-per-core= ntasks-per-gpu= ntasks-per-node= ntasks-per-socket= open-mode= o:output= O:overcommit
		s:oversubscribe parsable p:partition= power= priority= profile= propagate? q:qos= Q:quiet reboot requeue reservation= signal=
		sockets-per-node= spread-job switches= test-only thread-spec= threads-per-core= t:time= time-min= tmp= uid= usage use-min-nodes
		v:verbose V:version W:wait wait-all-nodes= wckey= wrap=`},
	"squeue": {code: 1, options: `A:account= a:all r:array array-unique federation h:noheader help hide i:iterate= j:jobs? json L:licenses=
		local l:long me M:clusters= n:name= noconvert o:format= O:Format= p:partition= priority q:qos= R:reservation= S:sort= sibling start
		t:states= s:steps? u:user= usage v:verbose V:version w:nodelist= yaml`},
	"sacct": {code: 1, options: `a:allusers A:accounts= array b:brief B:batch-script c:completion C:constraints= delimiter= D:duplicates
		E:endtime= env-vars e:helpformat f:file= federation g:gid= h:help j:jobs= json k:timelimit-min= K:timelimit-max= l:long L:allclusters
		local M:clusters= n:noheader name= N:nodelist= noconvert i:nnodes= I:ncpus= o:format= p:parsable P:parsable2 q:qos= r:partition=
		s:state= S:starttime= T:truncate u:user= uid= units= usage use-local-uid v:verbose V:version W:wckeys= X:allocations x:associations=
		yaml`},
	"scancel": {code: 1, options: `A:account= b:batch c:cron ctld f:full help H:hurry i:interactive M:clusters= me n:name= name= jobname=
		p:partition= q:qos= Q:quiet R:reservation= sibling= s:signal= t:state= u:user= usage v:verbose V:version w:nodelist= wckey=`},
	"scontrol": {code: 1, options: `a:all d:details F:future federation h:help hide json local M:clusters= o:oneliner Q:quiet sibling u:uid=
		v:verbose V:version yaml`},
	"sinfo": {code: 1, options: `a:all b:bg d:dead e:exact federation F:future h:noheader help hide i:iterate= json local l:long M:clusters=
		n:nodes= N:Node noconvert o:format= O:Format= p:partition= r:responding R:list-reasons s:summarize S:sort= t:states= T:reservation
		usage v:verbose V:version yaml`},
}

// parsed is a command line.
type parsed struct {
	values map[string]string
	args   []string
}

func (p *parsed) has(name string) bool       { _, ok := p.values[name]; return ok }
func (p *parsed) get(name, or string) string { return first(p.values[name], or) }

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// option is a long name and what follows it: "", "=" or "?".
type option struct{ name, value string }

func (s spec) table(o Options) (long map[string]option, short map[string]option) {
	long, short = map[string]option{}, map[string]option{}
	text := s.options
	if s.stop && o.Quotatype {
		text += " quotatype="
	}
	if !s.stop && strings.Contains(text, "array-unique") && o.knows("24.05") {
		text += " only-job-state"
	}
	for _, f := range strings.Fields(text) {
		letter, name, ok := strings.Cut(f, ":")
		if !ok {
			name = f
		}
		opt := option{name: strings.TrimRight(name, "=?")}
		opt.value = strings.TrimPrefix(name, opt.name)
		long[opt.name] = opt
		if ok {
			short[letter] = opt
		}
	}
	return long, short
}

// usage is what --help prints.
func usage(command string, s spec, o Options) *reply {
	long, short := s.table(o)
	r := new(reply)
	r.printf("Usage: %s [OPTIONS...]\n", command)
	for _, name := range slices.Sorted(maps.Keys(long)) {
		letter := "    "
		for l, opt := range short {
			if opt.name == name {
				letter = "-" + l + ", "
			}
		}
		value := map[string]string{"=": "=value", "?": "[=value]"}[long[name].value]
		r.printf("  %s--%s%s\n", letter, name, value)
	}
	return r
}

// getopt parses arguments as getopt_long does, abbreviations included.
func getopt(command string, s spec, o Options, args []string) (*parsed, *reply) {
	long, short := s.table(o)
	p := &parsed{values: map[string]string{}}
	wrong := func(text string) (*parsed, *reply) {
		return nil, failed(s.code, "%s: %s\nTry \"%s --help\" for more information", command, text, command)
	}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			p.args = append(p.args, args...)
			return p, nil
		case strings.HasPrefix(arg, "--"):
			name, value, has := strings.Cut(arg[2:], "=")
			opt, ok := long[name]
			if !ok {
				opt, ok = abbreviated(long, name)
			}
			switch {
			case !ok:
				return wrong("unrecognized option '" + arg + "'")
			case has && opt.value == "":
				return wrong("option '--" + opt.name + "' doesn't allow an argument")
			case !has && opt.value == "=" && len(args) == 0:
				return wrong("option '--" + opt.name + "' requires an argument")
			case !has && opt.value == "=":
				value, args = args[0], args[1:]
			}
			p.values[opt.name] = value
		case len(arg) > 1 && arg[0] == '-':
			rest, text := p.letters(short, arg[1:], args)
			if text != "" {
				return wrong(text)
			}
			args = rest
		case s.stop:
			p.args = append([]string{arg}, args...)
			return p, nil
		default:
			p.args = append(p.args, arg)
		}
	}
	return p, nil
}

func abbreviated(long map[string]option, name string) (option, bool) {
	var found []option
	for n, opt := range long {
		if strings.HasPrefix(n, name) {
			found = append(found, opt)
		}
	}
	if len(found) != 1 {
		return option{}, false
	}
	return found[0], true
}

// letters takes the options of one argument, "hro%i", and returns what is left of those after it, or what is wrong.
func (p *parsed) letters(short map[string]option, text string, args []string) ([]string, string) {
	for text != "" {
		opt, ok := short[text[:1]]
		if !ok {
			return nil, "invalid option -- '" + text[:1] + "'"
		}
		rest := text[1:]
		if opt.value == "" {
			p.values[opt.name], text = "", rest
			continue
		}
		if opt.name == "jobs" || opt.name == "steps" { // the long forms alone may do without a value
			opt.value = "="
		}
		if rest == "" && opt.value == "=" {
			if len(args) == 0 {
				return nil, "option requires an argument -- '" + text + "'"
			}
			rest, args = args[0], args[1:]
		}
		p.values[opt.name] = rest
		return args, ""
	}
	return args, ""
}

// list splits a value at commas.
func (p *parsed) list(name string) []string {
	if v := p.values[name]; v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// ours says that a filter by users lets through the only one there is.
func (p *parsed) ours() bool {
	return p.accepts("user", userName()) || slices.Contains(p.list("user"), strconv.Itoa(os.Getuid()))
}

// accepts says that a filter is not given or has the value.
func (p *parsed) accepts(name, value string) bool {
	return p.values[name] == "" || slices.Contains(p.list(name), value)
}
