#!/usr/bin/env bash
# ansible's community.docker modules: the tasks of ansible.yml, of which each is a step.
cd "$(dirname "$0")" || exit 1
out=$(ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false ANSIBLE_NOCOLOR=1 \
  "${ANSIBLE_PLAYBOOK:-ansible-playbook}" -e "ansible_python_interpreter=${ANSIBLE_PYTHON:-python3}" ansible.yml 2>&1)
code=$?
passed=$(grep -cE '^(ok|changed): ' <<<"$out")
made=$(grep -cE '^    - (&|<<|community|ansible)' ansible.yml)
[ $code = 0 ] || echo "$out" >&2
echo "$passed of $made"
exit $code
