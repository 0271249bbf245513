/** @file The head of both pages. */

export function Header({ page }: { readonly page: "play" | "explore" }) {
  const link = (name: typeof page, href: string, text: string) => (
    <a href={href} aria-current={page === name ? "page" : undefined}>
      {text}
    </a>
  );
  return (
    <header>
      <h1>vl-reward</h1>
      <nav aria-label="Pages">
        {link("play", "/", "Playground")}
        {link("explore", "/explore", "Explore")}
        <a href="/openapi.json">API</a>
      </nav>
    </header>
  );
}
