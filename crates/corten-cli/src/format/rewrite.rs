//! Rewriting a parsed template, so that field access and printing become calls of our functions.

use super::functions::{ACCESS, FUNCTION_NAMES, PRINT};
use gotmpl::parse::{ActionNode, BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos};
use std::sync::Arc;

/// Finds the name of a function that does not exist: Go refuses those when it parses.
pub(super) fn check_functions(list: &ListNode) -> std::result::Result<(), String> {
    const BUILT_IN: &[&str] = &[
        "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf",
        "println", "html", "js", "urlquery", "call",
    ];
    let expression = |expr: &Expr| match expr {
        Expr::Identifier(_, name)
            if !BUILT_IN.contains(&name.as_str()) && !FUNCTION_NAMES.contains(&name.as_str()) =>
        {
            Err(name.to_string())
        }
        Expr::Pipe(_, pipe) => check_pipe(pipe),
        _ => Ok(()),
    };
    fn check_pipe(pipe: &PipeNode) -> std::result::Result<(), String> {
        check_functions(&ListNode {
            pos: pipe.pos,
            nodes: vec![Node::Action(ActionNode { pos: pipe.pos, pipe: pipe.clone() })],
        })
    }
    let pipe =
        |pipe: &PipeNode| pipe.commands.iter().flat_map(|command| &command.args).try_for_each(expression);
    let branch = |branch: &BranchNode| {
        pipe(&branch.pipe)?;
        check_functions(&branch.body)?;
        branch.else_body.as_ref().map_or(Ok(()), check_functions)
    };
    list.nodes.iter().try_for_each(|node| match node {
        Node::List(list) => check_functions(list),
        Node::Action(action) => pipe(&action.pipe),
        Node::If(node) | Node::Range(node) | Node::With(node) => branch(node),
        Node::Template(node) => node.pipe.as_ref().map_or(Ok(()), pipe),
        Node::Define(define) => check_functions(&define.body),
        Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
    })
}

pub(super) fn rewrite_list(list: &mut ListNode) {
    for node in &mut list.nodes {
        match node {
            Node::List(list) => rewrite_list(list),
            Node::Action(action) => {
                rewrite_pipe(&mut action.pipe);
                if action.pipe.decl.is_empty() {
                    let pos = action.pos;
                    let command = CommandNode { pos, args: vec![Expr::Identifier(pos, PRINT.into())] };
                    action.pipe.commands.push(command);
                }
            }
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                rewrite_pipe(&mut branch.pipe);
                rewrite_list(&mut branch.body);
                if let Some(body) = &mut branch.else_body {
                    rewrite_list(body);
                }
            }
            Node::Template(node) => {
                if let Some(pipe) = &mut node.pipe {
                    rewrite_pipe(pipe);
                }
            }
            Node::Define(define) => rewrite_list(&mut define.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
}

fn rewrite_pipe(pipe: &mut PipeNode) {
    for command in &mut pipe.commands {
        let mut arguments = std::mem::take(&mut command.args);
        let rest = arguments.split_off(1.min(arguments.len()));
        // The first word may be a method: the words behind it are its arguments.
        if let Some(first) = arguments.pop() {
            match accessed(first) {
                Ok(words) => command.args = words,
                Err(first) => command.args.push(rewrite_expression(first)),
            }
        }
        command.args.extend(rest.into_iter().map(rewrite_expression));
    }
}

fn rewrite_expression(expression: Expr) -> Expr {
    match accessed(expression) {
        Ok(args) => {
            let pos = args[0].pos();
            let commands = vec![CommandNode { pos, args }];
            Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands, is_assign: false })
        }
        Err(Expr::Pipe(pos, mut pipe)) => {
            rewrite_pipe(&mut pipe);
            Expr::Pipe(pos, pipe)
        }
        Err(other) => other,
    }
}

/// A field access as the words of a call of the access function; anything else is given back.
fn accessed(expression: Expr) -> std::result::Result<Vec<Expr>, Expr> {
    let call = |pos: Pos, target: Expr, fields: Vec<gotmpl::parse::SmolStr>| {
        let path = fields.join(".");
        vec![Expr::Identifier(pos, ACCESS.into()), target, Expr::String(pos, Arc::from(path.as_str()))]
    };
    match expression {
        Expr::Field(pos, fields) if !fields.is_empty() => Ok(call(pos, Expr::Dot(pos), fields)),
        Expr::Variable(pos, name, fields) if !fields.is_empty() => {
            Ok(call(pos, Expr::Variable(pos, name, Vec::new()), fields))
        }
        Expr::Chain(pos, inner, fields) if !fields.is_empty() => {
            Ok(call(pos, rewrite_expression(*inner), fields))
        }
        other => Err(other),
    }
}
