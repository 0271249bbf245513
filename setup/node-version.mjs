/**
 * @file The first check of every entry: is this Node new enough? Written in plain old syntax and importing nothing, so
 * that an old Node can read it and say what is wrong instead of stumbling over the other files.
 */

const wanted = { major: 20, minor: 19 };

/**
 * Ends the process with one sentence when Node is too old or the platform is not supported.
 *
 * @param {string} [found] version of Node, "major.minor.patch"
 * @param {string} [platform] as in process.platform
 */
export function requireNode(found = process.versions.node, platform = process.platform) {
  const [major = 0, minor = 0] = found.split(".").map(Number);
  if (major < wanted.major || (major === wanted.major && minor < wanted.minor)) {
    console.error(
      `vl-reward needs Node ${wanted.major}.${wanted.minor} or newer; this is Node ${found}. ` +
        "Install a newer one, for example with a version manager: nvm install 22",
    );
    process.exit(2);
  }
  if (platform === "win32") {
    console.error("vl-reward runs on Linux and macOS. On Windows, use it inside WSL (wsl --install).");
    process.exit(2);
  }
}
