// Sphinx's search shows the pages that hold every word of a query, but its index leaves out most
// words of one or two letters: an error message with "so" in it would be found nowhere.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const parse = Search._parseQuery;
  Search._parseQuery = (query) => {
    const [text, terms, ...others] = parse(query);
    const long = [...terms].filter((term) => term.length > 2);
    return [text, long.length ? new Set(long) : terms, ...others];
  };
});
