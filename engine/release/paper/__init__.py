"""REPORT.html, the paper of a release for those who sign: `page` writes it, the other modules are its parts."""
