//! `completion`: the script that has a shell ask this program what could come next.

use crate::context::Context;
use crate::entry::{Count, Entry};
use crate::error::{CliError, Result};

pub(crate) const ENTRY: Entry = Entry {
    name: "completion",
    aliases: &[],
    usage: "bash|zsh|fish|powershell",
    count: Count::Exact(1),
    mixed: true,
    command: <Arguments as clap::CommandFactory>::command,
    run: |context, words| run(context, words.parse()?),
};

/// Print the completion script of a shell, to be sourced by it or put where it looks for such scripts
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// bash, zsh, fish or powershell
    shell: String,
}

/// A word with a `:` is several words for bash, so the line is split anew here, and of the candidates only the part
/// behind the last `:` is given.
const BASH: &str = r#"# bash completion for PROGRAM
_PROGRAM_complete() {
    local line word candidate directive
    local -a words
    line=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word=${words[${#words[@]}-1]}
    COMPREPLY=()
    while IFS= read -r candidate; do
        case $candidate in
        :*) directive=${candidate#:} ;;
        *) COMPREPLY+=("${candidate%%$'\t'*}") ;;
        esac
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    if [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%:*}:"}")
    fi
    if [[ $word == --*=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
    if [[ ${#COMPREPLY[@]} -eq 0 && $directive == 0 ]]; then
        compopt -o default 2>/dev/null
    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _PROGRAM_complete PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
# zsh completion for PROGRAM
_PROGRAM() {
    local line directive value
    local -a candidates
    while IFS= read -r line; do
        case $line in
        :*) directive=${line#:} ;;
        *)
            value=${${line%%$'\t'*}//:/\\:}
            if [[ $line == *$'\t'* ]]; then value="$value:${line#*$'\t'}"; fi
            candidates+=("$value")
            ;;
        esac
    done < <(${words[1]} __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#candidates} )); then
        _describe 'PROGRAM' candidates
    elif [[ $directive == 0 ]]; then
        _files
    fi
}
if [[ $funcstack[1] == _PROGRAM ]]; then _PROGRAM "$@"; else compdef _PROGRAM PROGRAM; fi
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l answer ($words[1] __complete $words[2..] 2>/dev/null)
    set -l count (count $answer)
    if test $count -eq 1; and test "$answer[1]" = ":0"
        __fish_complete_path (commandline -ct)
    else if test $count -gt 1
        printf '%s\n' $answer[1..-2]
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
"#;

const POWERSHELL: &str = r#"# PowerShell completion for PROGRAM
Register-ArgumentCompleter -Native -CommandName 'PROGRAM' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | ForEach-Object { $_.ToString() })
    $program = $words[0]
    $rest = @($words | Select-Object -Skip 1)
    if ($wordToComplete -eq '') { $rest += '""' }
    & $program __complete @rest 2>$null | Where-Object { $_ -notmatch '^:\d+$' } | ForEach-Object {
        $value, $about = $_ -split "`t", 2
        if (-not $about) { $about = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $about)
    }
}
"#;

/// The script of a shell for the program of that name.
pub(crate) fn script(shell: &str, program: &str) -> Option<String> {
    let script = match shell {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        "powershell" => POWERSHELL,
        _ => return None,
    };
    Some(script.replace("PROGRAM", program))
}

fn run(context: &mut Context, arguments: Arguments) -> Result<u8> {
    let script = script(&arguments.shell, &context.program).ok_or_else(|| {
        CliError::said(format!(
            "there is no completion for the shell {:?}: it must be one of bash, zsh, fish and powershell",
            arguments.shell
        ))
    })?;
    context.ui.data(script.as_bytes())?;
    Ok(0)
}
