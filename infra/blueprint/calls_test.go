package blueprint_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/awscloud"
	"platform-api-connector/shared/connector"
)

// This file finds out, from the source alone, which AWS calls each function
// can make. It walks from main along every mention of a function or method;
// a method of one of our interfaces leads to each of our types that has it,
// and a type leads to its methods that interfaces of others know. Where the
// walk meets a method of an SDK client it has found a call.
//
// A mention counts as a call and no branch is understood but a switch on the
// function's own name, so the walk may find a call that never happens, but
// misses none that our source spells out: only reflection, linkname and
// assembly could hide one, and nothing here uses them. What a call is about is
// read where it is made: the index by its literal name in the same function,
// the family of secrets by the function that makes the name given to the
// vault or, for credentials, the key given to the credential store; the sealer
// has one secret of its own. Anything else fails the test.

// call is an IAM action on a resource of the blueprint.
type call struct {
	action   string
	resource blueprint.Resource
}

const sdk = "github.com/aws/aws-sdk-go-v2/service/"

// services are the SDK's packages, as IAM names them, and what their calls
// are about where nothing says more.
var services = map[string]struct {
	prefix   string
	resource blueprint.Resource
}{
	"dynamodb":       {"dynamodb", blueprint.Table},
	"secretsmanager": {"secretsmanager", ""},
	"sqs":            {"sqs", blueprint.RefreshMessages},
	"eventbridge":    {"events", blueprint.EventBus},
}

// actions are calls that IAM knows by another name, or by none: a transaction
// needs what its parts need.
var actions = map[string]string{
	"sqs:SendMessageBatch":          "sqs:SendMessage",
	"dynamodb:TransactWriteItems":   "",
	"dynamodb:types.Put":            "dynamodb:PutItem",
	"dynamodb:types.Update":         "dynamodb:UpdateItem",
	"dynamodb:types.Delete":         "dynamodb:DeleteItem",
	"dynamodb:types.ConditionCheck": "dynamodb:ConditionCheckItem",
}

// place is somewhere that the walk comes by: a function, a variable or a
// type; and the family of secrets that it is about, if any.
type place struct {
	object types.Object
	family string
}

// program is our source, parsed and type-checked.
type program struct {
	module   string
	packages []*types.Package
	foreign  []*types.Package
	info     *types.Info
	bodies   map[types.Object]ast.Node // functions and variables
}

// callsOf returns every call that the function under functions/name can make, and the
// kind of every ticket that its calls can be about.
func (p *program) callsOf(name string) (map[call]bool, map[connector.Kind]bool, error) {
	start := p.packageOf("functions/" + name)
	if start == nil {
		return nil, nil, errors.New("no such package")
	}
	begin := start.Scope().Lookup("main")
	if !mentions(p.bodies[begin], name) {
		return nil, nil, errors.New("main does not say which function it is")
	}
	calls, tickets, problems := map[call]bool{}, map[connector.Kind]bool{}, []error{}
	seen := map[place]bool{}
	todo := []place{{object: begin}}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[at] {
			continue
		}
		seen[at] = true
		body := p.bodies[at.object]
		if body == nil {
			todo = append(todo, p.meant(at)...)
			continue
		}
		ast.Inspect(body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CaseClause:
				if isForOthers(n, name) {
					return false
				}
			case *ast.CallExpr:
				families, method := p.secretsOf(n, at.family)
				if method != nil && len(families) == 0 {
					problems = append(problems, fmt.Errorf("%s: no telling which secret", method.FullName()))
				}
				for _, family := range families {
					todo = append(todo, place{method, family})
				}
			case *ast.Ident:
				object := p.info.Uses[n]
				if f, ok := object.(*types.Func); ok {
					object = f.Origin()
				}
				if c, ok := object.(*types.Const); ok && c.Type().String() == p.module+"/shared/connector.Kind" {
					tickets[connector.Kind(constant.StringVal(c.Val()))] = true
				}
				found, err := p.callTo(object, body, at.family)
				if err != nil {
					problems = append(problems, err)
				} else if found != nil {
					calls[*found] = true
				} else if object != nil && p.ours(object.Pkg()) && !p.takesSecret(object) {
					todo = append(todo, place{object, at.family})
				}
			}
			return true
		})
	}
	delete(tickets, connector.ConnectionKind)
	return calls, tickets, errors.Join(problems...)
}

// isForOthers reports whether a case names functions, but not this one. A
// main passes its own name on, so such a case is never this function's.
func isForOthers(clause *ast.CaseClause, name string) bool {
	for _, expression := range clause.List {
		literal, ok := expression.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return false
		}
		text, _ := strconv.Unquote(literal.Value)
		named := slices.ContainsFunc(blueprint.Functions(), func(f blueprint.Function) bool { return f.Name == text })
		if !named || text == name {
			return false
		}
	}
	return len(clause.List) > 0
}

// mentions reports whether body spells text out.
func mentions(body ast.Node, text string) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		found = found || ok && literal.Value == strconv.Quote(text)
		return true
	})
	return found
}

// meant returns where a mention of an interface's method, or of a type, leads.
func (p *program) meant(at place) (places []place) {
	switch object := at.object.(type) {
	case *types.Func:
		receiver := object.Signature().Recv()
		if receiver == nil {
			break
		}
		if iface, ok := receiver.Type().Underlying().(*types.Interface); ok {
			if receiver.Type().String() == p.module+"/shared/credentialstore.Sealer" {
				at.family = "sealing-key"
			}
			for _, method := range p.implementations(iface, object.Name()) {
				places = append(places, place{method, at.family})
			}
		}
	case *types.TypeName:
		for _, method := range p.knownToOthers(object.Type()) {
			places = append(places, place{object: method})
		}
	}
	return places
}

func (p *program) implementations(iface *types.Interface, method string) (methods []types.Object) {
	for t := range p.namedTypes() {
		if !types.Implements(types.NewPointer(t), iface) {
			continue
		}
		found, _, _ := types.LookupFieldOrMethod(types.NewPointer(t), true, t.Obj().Pkg(), method)
		methods = append(methods, found)
	}
	return methods
}

// knownToOthers returns the methods of t by which code of others can call it.
func (p *program) knownToOthers(t types.Type) (methods []types.Object) {
	named, ok := t.(*types.Named)
	if !ok || types.IsInterface(t) || named.TypeParams().Len() > 0 {
		return nil
	}
	pointer := types.NewPointer(t)
	for _, pkg := range append([]*types.Package{nil}, p.foreign...) {
		scope := types.Universe
		if pkg != nil {
			scope = pkg.Scope()
		}
		for _, name := range scope.Names() {
			declared, ok := scope.Lookup(name).(*types.TypeName)
			if !ok {
				continue
			}
			if n, ok := declared.Type().(*types.Named); ok && n.TypeParams().Len() > 0 {
				continue
			}
			iface, ok := declared.Type().Underlying().(*types.Interface)
			if !ok || !types.Implements(pointer, iface) {
				continue
			}
			for method := range iface.Methods() {
				found, _, _ := types.LookupFieldOrMethod(pointer, true, named.Obj().Pkg(), method.Name())
				methods = append(methods, found)
			}
		}
	}
	return methods
}

func (p *program) namedTypes() func(func(*types.Named) bool) {
	return func(yield func(*types.Named) bool) {
		for _, pkg := range p.packages {
			for _, name := range pkg.Scope().Names() {
				declared, ok := pkg.Scope().Lookup(name).(*types.TypeName)
				if !ok {
					continue
				}
				named, ok := declared.Type().(*types.Named)
				if ok && named.TypeParams().Len() == 0 && !types.IsInterface(named) && !yield(named) {
					return
				}
			}
		}
	}
}

var paginator = regexp.MustCompile(`^New(\w+)Paginator$`)

// callTo says which call a mention of object in body is, nil if it is none.
func (p *program) callTo(object types.Object, body ast.Node, family string) (*call, error) {
	if object == nil || object.Pkg() == nil || !strings.HasPrefix(object.Pkg().Path(), sdk) {
		return nil, nil
	}
	path, isTypes := strings.CutSuffix(strings.TrimPrefix(object.Pkg().Path(), sdk), "/types")
	service, known := services[path]
	name := object.Name()
	switch object := object.(type) {
	case *types.Func:
		receiver := object.Signature().Recv()
		if match := paginator.FindStringSubmatch(name); match != nil {
			name = match[1]
		} else if strings.HasSuffix(name, "Waiter") {
			return nil, fmt.Errorf("%s polls; say what it calls", object.FullName())
		} else if receiver == nil || !strings.HasSuffix(receiver.Type().String(), ".Client") || name == "Options" {
			return nil, nil
		}
	case *types.TypeName:
		name = "types." + name
		if _, acts := actions[path+":"+name]; !isTypes || !acts {
			return nil, nil
		}
	default:
		return nil, nil
	}
	if !known {
		return nil, fmt.Errorf("%s: the test does not know this service", object.Pkg().Path())
	}
	action := service.prefix + ":" + name
	if other, ok := actions[action]; ok {
		action = other
	}
	if action == "" {
		return nil, nil
	}
	resource := service.resource
	if service.prefix == "secretsmanager" {
		if family == "" {
			return nil, fmt.Errorf("%s: by way of neither the vault nor the sealer", action)
		}
		resource = blueprint.Resource("secrets " + family)
	}
	if action == "dynamodb:Query" || action == "dynamodb:Scan" {
		if index := indexIn(body); index != "" {
			resource = blueprint.Resource("table index " + index)
		}
	}
	return &call{action, resource}, nil
}

// indexIn returns the name of the index that body spells out.
func indexIn(body ast.Node) (found string) {
	ast.Inspect(body, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, _ := strconv.Unquote(literal.Value)
			for _, index := range awscloud.TableSchema().Indexes {
				if text == index.Name {
					found = text
				}
			}
		}
		return true
	})
	return found
}

// takesSecret reports whether object is a method of the vault or of the
// credential store that is about one secret.
func (p *program) takesSecret(object types.Object) bool {
	f, ok := object.(*types.Func)
	if !ok || f.Signature().Recv() == nil || f.Signature().Params().Len() < 2 {
		return false
	}
	switch f.Signature().Recv().Type().String() {
	case p.module + "/shared/credentialstore.Vault", p.module + "/shared/connector.CredentialStore":
		return true
	}
	return false
}

// secretsOf reads a call that is about a secret, and returns the families that
// the secret may be of. The vault gets a name: the function that makes it spells
// its one family out, or makes the name of what the caller is about. The
// credential store gets a key: the function that makes it mentions the kinds.
func (p *program) secretsOf(n *ast.CallExpr, about string) (families []string, method *types.Func) {
	selector, ok := n.Fun.(*ast.SelectorExpr)
	if !ok || !p.takesSecret(p.info.Uses[selector.Sel]) {
		return nil, nil
	}
	method = p.info.Uses[selector.Sel].(*types.Func)
	if _, passed := n.Args[1].(*ast.Ident); passed {
		// A wrapper passes on what its caller is about. Without a caller it is
		// only mentioned.
		if about == "" {
			return nil, nil
		}
		return []string{about}, method
	}
	maker, ok := n.Args[1].(*ast.CallExpr)
	if !ok {
		return nil, method
	}
	var named *ast.Ident
	switch f := maker.Fun.(type) {
	case *ast.Ident:
		named = f
	case *ast.SelectorExpr:
		named = f.Sel
	}
	ofKind := map[string]string{"OfConnection": "connections/", "OfConsent": "pending/"}
	var spelled []string
	if body := p.bodies[p.info.Uses[named]]; body != nil {
		ast.Inspect(body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if text, _ := strconv.Unquote(n.Value); strings.HasSuffix(text, "/") && len(text) > 1 {
					spelled = append(spelled, text)
				}
			case *ast.Ident:
				if family, ok := ofKind[n.Name]; ok {
					families = append(families, family)
				}
			}
			return true
		})
	}
	if !strings.HasSuffix(method.Signature().Recv().Type().String(), ".Vault") {
		return families, method
	}
	if len(spelled) == 1 {
		return spelled, method
	}
	if slices.Contains(spelled, about) {
		return []string{about}, method
	}
	return nil, method
}

func (p *program) ours(pkg *types.Package) bool { return slices.Contains(p.packages, pkg) }

func (p *program) packageOf(path string) *types.Package {
	for _, pkg := range p.packages {
		if pkg.Path() == p.module+"/"+path {
			return pkg
		}
	}
	return nil
}

// load reads the functions and all of ours that they are made of.
func load(t *testing.T) *program {
	t.Helper()
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
		Module                  *struct {
			Path string
			Main bool
		}
	}
	// As the local stack builds them, so that nothing is compiled for this alone.
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-tags", "lambda.norpc",
		"-json=ImportPath,Dir,Export,GoFiles,Module", "./functions/...")
	list.Dir = "../.."
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	exports := map[string]string{}
	p := &program{
		info:   &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}},
		bodies: map[types.Object]ast.Node{},
	}
	files := token.NewFileSet()
	imports := &importing{of: map[string]*types.Package{}}
	imports.foreign = importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var pkg listed
		if err := decoder.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		exports[pkg.ImportPath] = pkg.Export
		if pkg.Module != nil && pkg.Module.Main {
			p.module = pkg.Module.Path
			p.check(t, files, imports, pkg.ImportPath, pkg.Dir, pkg.GoFiles)
		}
	}
	for _, pkg := range imports.of {
		if !p.ours(pkg) {
			p.foreign = append(p.foreign, pkg)
		}
	}
	return p
}

func (p *program) check(t *testing.T, files *token.FileSet, imports *importing, path, dir string, names []string) {
	t.Helper()
	var parsed []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(files, filepath.Join(dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	pkg, err := (&types.Config{Importer: imports}).Check(path, files, parsed, p.info)
	if err != nil {
		t.Fatalf("type-checking %s: %v", path, err)
	}
	imports.of[path] = pkg
	p.packages = append(p.packages, pkg)
	for _, file := range parsed {
		for _, declaration := range file.Decls {
			p.record(declaration)
		}
	}
}

// record remembers what functions and variables are made of.
func (p *program) record(declaration ast.Decl) {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		p.bodies[p.info.Defs[d.Name]] = d
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if values, ok := spec.(*ast.ValueSpec); ok {
				for _, name := range values.Names {
					p.bodies[p.info.Defs[name]] = values
				}
			}
		}
	}
}

// importing resolves ours from source and others from what the compiler
// exported.
type importing struct {
	of      map[string]*types.Package
	foreign types.Importer
}

func (i *importing) Import(path string) (*types.Package, error) {
	if pkg := i.of[path]; pkg != nil {
		return pkg, nil
	}
	pkg, err := i.foreign.Import(path)
	if err == nil {
		i.of[path] = pkg
	}
	return pkg, err
}
