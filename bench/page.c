/* The head of a report page and its style sheet. No script, no outside asset. */
#include "bench/plot.h"

static const char style[] =
    ":root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16191d;--soft:#667085;"
    "--line:#e3e6eb;--c0:#2563eb;--c1:#d97706;--c2:#0d9488;--c3:#dc2626;--c4:#7c3aed}"
    "@media(prefers-color-scheme:dark){:root{--bg:#101316;--card:#181c21;--ink:#e8eaed;"
    "--soft:#98a2b3;--line:#2a3038;--c0:#6ea8fe;--c1:#f5b14c;--c2:#4fd1c0;--c3:#ff7b72;"
    "--c4:#b69cff}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;"
    "font-variant-numeric:tabular-nums}main{max-width:1380px;margin:0 auto;padding:28px 24px 48px}"
    "h1{font-size:24px;margin:0 0 2px}h2{font-size:16px;margin:32px 0 10px}"
    ".sub{color:var(--soft);margin:0 0 20px}.sub b{color:var(--ink);font-weight:500}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}"
    ".tile,figure,.box{background:var(--card);border:1px solid var(--line);border-radius:10px}"
    ".tile{padding:12px 16px}.tile span{display:block;color:var(--soft);font-size:13px}"
    ".tile b{font-size:24px;font-weight:600;letter-spacing:-.01em}.tile small{color:var(--soft);"
    "margin-left:4px}.tile.bad b{color:var(--c3)}"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));"
    "gap:12px}"
    "figure{margin:0;padding:14px 16px 8px}figcaption{display:flex;flex-wrap:wrap;gap:2px 10px;"
    "align-items:baseline}figcaption small{color:var(--soft)}.legend{margin-left:auto;display:flex;"
    "flex-wrap:wrap;white-space:nowrap;"
    "gap:12px;font-size:13px;color:var(--soft)}.legend i{display:inline-block;width:14px;"
    "height:0;border-top:3px solid;vertical-align:middle;margin-right:5px;border-radius:2px}"
    ".legend i.h{border-top-style:dotted}"
    "svg{display:block;width:100%;height:auto;margin-top:6px}"
    ".s0{color:var(--c0)}.s1{color:var(--c1)}.s2{color:var(--c2)}.s3{color:var(--c3)}"
    ".s4{color:var(--c4)}.l{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round}"
    ".l.h{stroke-dasharray:3 4}.f{fill:currentColor;opacity:.14}.d{fill:currentColor}"
    ".g{stroke:var(--line)}.a,.k{stroke:var(--soft)}.t{fill:var(--soft);font-size:11.5px}"
    ".b{fill:transparent}.b:hover{fill:var(--soft);opacity:.14}.w{fill:var(--soft);opacity:.1}"
    ".box{overflow-x:auto}table{border-collapse:collapse;width:100%}"
    "th,td{padding:7px 14px;text-align:right;border-top:1px solid var(--line);white-space:nowrap}"
    "tr:first-child>*{border-top:0}th{color:var(--soft);font-weight:500;font-size:13px}"
    "th:first-child,td:first-child{text-align:left}td.words{white-space:normal;text-align:left;"
    "color:var(--soft)}.warn{border-left:4px solid var(--c1);padding:10px 14px;margin:16px 0;"
    "background:var(--card);border-radius:6px}footer{color:var(--soft);font-size:13px;"
    "margin-top:28px}";

void weir_page_begin(struct weir_page *p, const char *title, const char *about) {
    weir_page_raw(p, "<!doctype html><html lang=en><head><meta charset=utf-8>"
                     "<meta name=viewport content=\"width=device-width,initial-scale=1\"><title>");
    weir_page_text(p, title);
    weir_page_raw(p, "</title><style>");
    weir_page_raw(p, style);
    weir_page_raw(p, "</style></head><body><main>");
    weir_page_raw(p, "<h1>");
    weir_page_text(p, title);
    weir_page_raw(p, "</h1><p class=sub><b>");
    weir_page_text(p, about);
}
