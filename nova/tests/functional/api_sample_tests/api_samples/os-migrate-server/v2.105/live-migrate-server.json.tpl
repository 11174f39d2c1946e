{
    "os-migrateLive": {
        "host": "%(hostname)s",
        "block_migration": "auto"
    }
}
