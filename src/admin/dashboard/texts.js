// The words of the page.

const ENGLISH = {
  other: '中文', token: 'Token of the admin listener ([admin] token_file)', enter: 'Show', wrong: 'This token is not accepted.',
  ready: 'ready', draining: 'draining: no new callers', unreachable: 'no answer', about: 'version {version}, up for {uptime}',
  now: 'Now', calls: 'Relay allocations', ports: 'Relay ports left', sockets: 'WebSockets', people: 'Members in rooms', roomCount: 'Rooms', tcp: 'Connections since the start',
  certificate: 'Certificate', source: 'Source', names: 'Names', until: 'Valid until', trusted: 'Trusted by browsers', lastError: 'Last failure', nextAttempt: 'Next attempt', yes: 'yes', no: 'no', days: '{date} ({days} days)',
  traffic: 'Relayed traffic', transport: 'Transport', toPeers: 'From clients', toClients: 'To clients', inAll: 'In all',
  rooms: 'Rooms', id: 'Id', dialect: 'Dialect', age: 'Age', messages: 'Messages', members: 'Members', away: 'away', locked: 'locked',
  allocations: 'Relay allocations', client: 'Client', end: 'End', endSure: 'End {id}?', none: 'none', more: 'The first {count} are shown; /sessions has the rest.', failed: 'It could not be ended: {why}',
  errors: 'Errors', what: 'What', lastMinute: 'Last minute', sinceStart: 'Since the start',
};

const CHINESE = {
  other: 'English', token: '管理端口的令牌（[admin] token_file）', enter: '查看', wrong: '令牌不被接受。',
  ready: '就绪', draining: '正在排空：不接受新呼叫', unreachable: '没有应答', about: '版本 {version}，已运行 {uptime}',
  now: '当前', calls: '中继分配', ports: '剩余中继端口', sockets: 'WebSocket', people: '房间成员', roomCount: '房间', tcp: '启动以来的连接',
  certificate: '证书', source: '来源', names: '域名', until: '有效期至', trusted: '浏览器信任', lastError: '最近一次失败', nextAttempt: '下次尝试', yes: '是', no: '否', days: '{date}（{days} 天）',
  traffic: '中继流量', transport: '传输', toPeers: '来自客户端', toClients: '发往客户端', inAll: '累计',
  rooms: '房间', id: '编号', dialect: '协议', age: '时长', messages: '消息', members: '成员', away: '离线', locked: '已锁定',
  allocations: '中继分配', client: '客户端', end: '结束', endSure: '结束 {id}？', none: '无', more: '只显示前 {count} 个；其余见 /sessions。', failed: '未能结束：{why}',
  errors: '错误', what: '类别', lastMinute: '最近一分钟', sinceStart: '启动以来',
};

export const LANGUAGES = { en: ENGLISH, zh: CHINESE };

/** The language to begin with: as chosen in this tab, or as the browser has it. */
export function language() {
  return sessionStorage.getItem('language') ?? (navigator.language.startsWith('zh') ? 'zh' : 'en');
}
