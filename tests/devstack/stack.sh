#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0

# Calls a plugin in the phases and the order in which DevStack does, and does
# with Nova what DevStack does in between. What it would install or configure,
# it prints.
#
# Usage: stack.sh PLUGIN stack|unstack|clean
# Environment: DEST, NOVA_REPO, NOVA_BRANCH, RECLONE, SERVICES

set -o errexit

plugin=$1
NOVA_DIR=$DEST/nova
TEMPEST_CONFIG=$DEST/tempest/etc/tempest.conf
declare -A GITREPO GITBRANCH GITDIR
GITDIR[openstacksdk]=$DEST/openstacksdk

function die {
    echo "died: ${*:2}"
    exit 1
}

function warn {
    echo "warned: ${*:2}"
}

function is_service_enabled {
    [[ " $SERVICES " == *" $1 "* ]]
}

function setup_develop {
    echo "installed: $1 at $(git -C "$1" log -1 --format=%s)"
}

function iniset {
    echo "set: $*"
}

# A directory that is there stays as it is, unless RECLONE says otherwise; then
# it is brought to what the remote has, by force.
function git_clone {
    local remote=$1 where=$2 ref=$3
    if [[ ! -d $where ]]; then
        git clone --quiet --no-checkout "$remote" "$where"
        git -C "$where" fetch --quiet origin "$ref"
        git -C "$where" checkout --quiet FETCH_HEAD
    elif [[ $RECLONE == True ]]; then
        git -C "$where" remote set-url origin "$remote"
        git -C "$where" fetch --quiet origin
        if [[ $(git -C "$where" show-ref "refs/tags/$ref") ]]; then
            git -C "$where" tag --delete "$ref"
            git -C "$where" fetch --quiet origin tag "$ref"
            git -C "$where" checkout --quiet --force "$ref"
        elif [[ $(git -C "$where" show-ref "refs/heads/$ref") ]]; then
            git -C "$where" checkout --quiet --force "origin/$ref"
            git -C "$where" branch --quiet -D "$ref" || true
            git -C "$where" checkout --quiet -b "$ref"
        else
            git -C "$where" checkout --quiet -b "$ref" --track "origin/$ref"
        fi
    fi
}

function run_phase {
    # shellcheck source=devstack/plugin.sh
    source "$plugin/plugin.sh" "$@"
}

# shellcheck source=devstack/settings
source "$plugin/settings"
before=$PWD
case $2 in
    stack)
        run_phase stack pre-install
        if [[ $LIBS_FROM_GIT ]]; then
            git_clone "${GITREPO[$LIBS_FROM_GIT]}" \
                "${GITDIR[$LIBS_FROM_GIT]}" "${GITBRANCH[$LIBS_FROM_GIT]}"
            setup_develop "${GITDIR[$LIBS_FROM_GIT]}"
        fi
        if is_service_enabled nova; then
            git_clone "$NOVA_REPO" "$NOVA_DIR" "$NOVA_BRANCH"
            setup_develop "$NOVA_DIR"
        fi
        run_phase stack install
        echo "database: made"
        run_phase stack post-config
        run_phase stack extra
        run_phase stack test-config
        ;;
    unstack)
        run_phase unstack
        ;;
    clean)
        run_phase unstack
        run_phase clean
        ;;
esac
[[ $PWD == "$before" ]]
echo "done"
