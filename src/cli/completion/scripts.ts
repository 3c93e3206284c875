/** Completion scripts. They know nothing of the commands: each asks the program what may stand at the cursor. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** The hidden command that answers them. */
export const COMPLETE = '__complete';

const NAME = 'vllm-gateway';

/**
 * Bash breaks words at `:` and `=`, which stand in names of models and in `--option=value`: the words are taken from the
 * line itself up to the cursor, and what bash holds for finished is cut off the front of the answers.
 */
const BASH = `# Completion of ${NAME} for bash. Load it now:  source <(${NAME} completion bash)
# and in every shell:  ${NAME} completion bash > ~/.local/share/bash-completion/completions/${NAME}
_vllm_gateway() {
  local line="\${COMP_LINE:0:COMP_POINT}" typed="\${COMP_WORDS[COMP_CWORD]}" word cut answer files=
  local -a words=()
  read -r -a words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  word="\${words[-1]}"
  # Bash replaces only what follows the last break of the word.
  cut="\${word%"\${word##*[:=]}"}"
  [[ $COMP_WORDBREAKS == *:* ]] || cut="\${word%"\${word##*=}"}"
  COMPREPLY=()
  while IFS=$'\\t' read -r answer _; do
    if [[ $answer == :files ]]; then files=1
    elif [[ -n $answer ]]; then COMPREPLY+=("\${answer#"$cut"}")
    fi
  done < <("\${words[0]}" ${COMPLETE} -- "\${words[@]:1}" 2>/dev/null)
  if [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r answer; do COMPREPLY+=("$answer"); done < <(compgen -f -- "\${word#"$cut"}")
  fi
}
complete -F _vllm_gateway ${NAME}
`;

const ZSH = `#compdef ${NAME}
# Completion of ${NAME} for zsh. Load it now:  source <(${NAME} completion zsh)
# and in every shell:  ${NAME} completion zsh > "\${fpath[1]}/_${NAME}"
_vllm_gateway() {
  local line answer files=
  local -a names
  while IFS= read -r line; do
    if [[ $line == :files ]]; then files=1; continue; fi
    answer="\${line%%$'\\t'*}"
    # A colon divides a name from what it is.
    if [[ $line == *$'\\t'* ]]; then names+=("\${answer//:/\\\\:}:\${line#*$'\\t'}"); else names+=("\${answer//:/\\\\:}"); fi
  done < <("\${words[1]}" ${COMPLETE} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( $#names )) && _describe -t candidates '${NAME}' names
  [[ -n $files ]] && _files
  return 0
}
if [[ $funcstack[1] == _vllm_gateway ]]; then _vllm_gateway "$@"; else compdef _vllm_gateway ${NAME}; fi
`;

const FISH = `# Completion of ${NAME} for fish. Load it now:  ${NAME} completion fish | source
# and in every shell:  ${NAME} completion fish > ~/.config/fish/completions/${NAME}.fish
function __vllm_gateway_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    for line in ($program ${COMPLETE} -- $words "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c ${NAME} -f -a '(__vllm_gateway_complete)'
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

export const completionScript = (shell: Shell): string => SCRIPTS[shell];
