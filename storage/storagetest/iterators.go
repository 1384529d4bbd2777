package storagetest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
)

// UncheckedIterators looks through the Go sources of a directory for iterators whose end nobody looks at: an
// iteration that stops for an error looks like one that is through, so an unchecked one is silent loss.
//
// An iterator is what a call of NewIter, NewIterWithContext or Iter (with two arguments) returns. It is checked
// if the function uses the result of its Error or Close, or hands the iterator on: returns it, stores it,
// passes it. A deferred Close, or one on a line by itself, drops the result.
func UncheckedIterators(dir string) (found []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		more, err := uncheckedIn(name, src)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

func uncheckedIn(name string, src []byte) (found []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, src, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		body := bodyOf(n)
		if body == nil {
			return true
		}
		for _, it := range iteratorsIn(body) {
			if !isChecked(body, it) {
				found = append(found, fmt.Sprintf("%s: iterator %s is not checked", set.Position(it.Pos()), it.Name))
			}
		}
		return true
	})
	return found, nil
}

func bodyOf(n ast.Node) *ast.BlockStmt {
	switch f := n.(type) {
	case *ast.FuncDecl:
		return f.Body
	case *ast.FuncLit:
		return f.Body
	}
	return nil
}

// iteratorsIn finds the variables of this function, not of functions inside it, that an iterator is assigned to.
func iteratorsIn(body *ast.BlockStmt) (vars []*ast.Ident) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch s := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.AssignStmt:
			if len(s.Rhs) == 1 && makesIterator(s.Rhs[0]) {
				if v, ok := s.Lhs[0].(*ast.Ident); ok {
					vars = append(vars, v)
				}
			}
		}
		return true
	})
	return vars
}

func makesIterator(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	switch sel.Sel.Name {
	case "NewIter", "NewIterWithContext", "newIter":
		return true
	case "Iter":
		return len(call.Args) == 2
	}
	return false
}

// isChecked says whether some use of the variable in the function looks at its end or hands it on.
func isChecked(body *ast.BlockStmt, it *ast.Ident) bool {
	checked := false
	var parents []ast.Node
	ast.Inspect(body, func(n ast.Node) bool {
		if n == nil {
			parents = parents[:len(parents)-1]
			return true
		}
		if id, ok := n.(*ast.Ident); ok && id.Name == it.Name && id != it && isCheck(parents, id) {
			checked = true
		}
		parents = append(parents, n)
		return true
	})
	return checked
}

func isCheck(parents []ast.Node, id *ast.Ident) bool {
	up := func(n int) ast.Node {
		if len(parents) < n {
			return nil
		}
		return parents[len(parents)-n]
	}
	switch parent := up(1).(type) {
	case *ast.SelectorExpr: // it.X
		if parent.X != id {
			return false
		}
		call, called := up(2).(*ast.CallExpr)
		if !called || call.Fun != parent {
			return false
		}
		switch parent.Sel.Name {
		case "Error", "Close", "scan":
			return isUsed(up(3))
		}
		return false
	case *ast.CallExpr, *ast.ReturnStmt, *ast.CompositeLit, *ast.KeyValueExpr, *ast.UnaryExpr:
		return true // handed on
	case *ast.AssignStmt:
		for _, rhs := range parent.Rhs {
			if rhs == id {
				return true
			}
		}
	}
	return false
}

// isUsed says whether the statement or expression around a call does something with its result.
func isUsed(around ast.Node) bool {
	switch s := around.(type) {
	case *ast.ExprStmt, *ast.DeferStmt, *ast.GoStmt:
		return false
	case *ast.AssignStmt:
		for _, lhs := range s.Lhs {
			if v, ok := lhs.(*ast.Ident); !ok || v.Name != "_" {
				return true
			}
		}
		return false
	}
	return true
}
