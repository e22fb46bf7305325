# SPDX-License-Identifier: Apache-2.0
# bash completion for bkfs(1)
_bkfs() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word command=
  local commands="init derive key rotate backup snapshots stats version ls find diff restore fetch copy commit umount forget prune compact check help"
  local general="--config --repository --key-file --passphrase-file --cache-dir --limit-upload --limit-download --json --quiet --verbose --help"
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case " $commands " in *" $word "*) command=$word; break ;; esac
  done
  COMPREPLY=()
  case $prev in
    -C|--config|-K|--key-file|-O|--output|--passphrase-file|--exclude-file|--master-passphrase-file|--to-key-file|--to-passphrase-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    -R|--repository|--cache-dir|--source|--to) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    -t|--type) mapfile -t COMPREPLY < <(compgen -W "ReadWrite ReadOnly WriteOnly LogOnly Maintain" -- "$cur"); return ;;
    --level) mapfile -t COMPREPLY < <(compgen -W "structure signatures references" -- "$cur"); return ;;
    --dedup) mapfile -t COMPREPLY < <(compgen -W "own trusted all" -- "$cur"); return ;;
    --group-by) mapfile -t COMPREPLY < <(compgen -W "name,host name host" -- "$cur"); return ;;
    key) mapfile -t COMPREPLY < <(compgen -W "list show revoke" -- "$cur"); return ;;
  esac
  if [[ $cur == -* ]]; then
    local own=
    case $command in
      init) own="--pad --chunk-size" ;;
      derive) own="--type --output --label --master-passphrase-file" ;;
      key) [[ " ${COMP_WORDS[*]} " == *" revoke "* ]] && own="--rotate" ;;
      backup) own="--name --exclude --exclude-file --one-file-system --tag --host --dedup" ;;
      snapshots) own="--name" ;;
      ls) own="--recursive" ;;
      find) own="--snapshot --name" ;;
      restore) own="--path --delete --dry-run --verify" ;;
      prune) own="--grace --now --max-unused --dry-run --ignore-damage" ;;
      compact) own="--threshold --max-bytes --dry-run --ignore-damage" ;;
      rotate) own="--repair" ;;
      copy) own="--to --to-key-file --to-passphrase-file --name --all --dedup" ;;
      forget) own="--keep-last --keep-hourly --keep-daily --keep-weekly --keep-monthly --keep-yearly --keep-within --keep-tag"
        own+=" --name --host --tag --group-by --allow-remove-all --dry-run" ;;
      check) own="--level --read-data --max-duration --restart --repair --source" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$general $own" -- "$cur")
  elif [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
  else
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -o filenames -F _bkfs bkfs
